"""The journey on a kind cluster with the real operator: `kind.yaml` beside this file says how to make one."""

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from platform_app.local.components import answers
from platform_app.local.network import reserved_ports
from platform_app.local.state import HOST
from tests.kube.e2e.cluster import NAMESPACE
from tests.kube.e2e.place import Place
from tests.running import eventually

_GPU_NODES = "slipway/pool in (gpu-spot,gpu-ondemand)"


class Kind(Place):
    """A kind cluster as a place."""

    def __init__(self, context: str, forwards: ExitStack) -> None:
        self.context = context
        self._forwards = forwards
        self._urls: dict[str, str] = {}

    def reclaim(self, pod: str, grace_seconds: int) -> None:
        """Let nothing more come to a pod's node, and end the pod as an eviction does."""
        node = self.kubectl("-n", NAMESPACE, "get", "pod", pod, "-o", "jsonpath={.spec.nodeName}")
        self.kubectl("cordon", node)
        self.kubectl("-n", NAMESPACE, "delete", "pod", pod, f"--grace-period={grace_seconds}", "--wait=false")

    def api_url(self) -> str:
        """Give this end of a connection to the platform's service."""
        return self._forward("slipway-serve-svc", 8000, "/readyz")

    def mlflow_url(self) -> str:
        """Give this end of a connection to MLflow."""
        return self._forward("mlflow", 5000, "/health")

    def faults(self) -> list[str]:
        """Give nothing: what goes wrong in a real cluster shows in what is waited for."""
        return []

    def lend_gpus(self) -> None:
        """Let each GPU node say that it has one GPU, as a device plugin would: an extended resource is but a number."""
        for node in self.kubectl("get", "nodes", "-l", _GPU_NODES, "-o", "name").split():
            change = '[{"op": "add", "path": "/status/capacity/nvidia.com~1gpu", "value": "1"}]'
            self.kubectl("patch", node, "--subresource=status", "--type=json", "-p", change)

    def _forward(self, service: str, port: int, path: str) -> str:
        if service not in self._urls:
            ports = self._forwards.enter_context(reserved_ports())
            here = ports.api
            words = [
                "--context",
                str(self.context),
                "-n",
                NAMESPACE,
                "port-forward",
                f"svc/{service}",
                f"{here}:{port}",
            ]
            process = subprocess.Popen(["kubectl", *words], stdout=subprocess.DEVNULL)
            self._forwards.callback(process.wait)
            self._forwards.callback(process.terminate)
            url = f"http://{HOST}:{here}"
            eventually(lambda: answers(f"{url}{path}"))
            self._urls[service] = url
        return self._urls[service]


@contextmanager
def kind(context: str) -> Iterator[Place]:
    """Take the kind cluster of a kubeconfig's context."""
    with ExitStack() as forwards:
        place = Kind(context, forwards)
        place.lend_gpus()
        yield place
