"""The journey on the stand-in: this machine alone, without containers."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from platform_app.local.network import reserved_ports
from platform_app.local.processes import mark, spawn, stop_members
from platform_app.local.state import HOST
from tests.kube.e2e.cluster import NAMESPACE
from tests.kube.e2e.place import Place
from tests.kube.standin import SYSTEM, Pool, RunningCluster, kube_cluster

_NO_GPU = {"key": "nvidia.com/gpu", "value": "true"}
_SPOT = {"key": "spot", "value": "true"}


def _gpu_pool(name: str, market: str, *taints: dict[str, str]) -> Pool:
    machine = {"cpu": "8", "memory": "64Gi", "nvidia.com/gpu": "1"}
    return Pool(name, machine, market, labels={"slipway/pool": name}, taints=taints)


_POOLS = (SYSTEM, _gpu_pool("gpu-spot", "spot", _NO_GPU, _SPOT), _gpu_pool("gpu-ondemand", "on-demand", _NO_GPU))


class StandIn(Place):
    """The stand-in as a place."""

    def __init__(self, kube: RunningCluster, mlflow: str) -> None:
        self._kube = kube
        self._mlflow = mlflow
        self.kubeconfig = kube.kubeconfig

    def reclaim(self, pod: str, grace_seconds: int) -> None:
        """Take back a pod's node."""
        self._kube.reclaim(pod, grace_seconds)

    def api_url(self) -> str:
        """Give the address of Serve's proxy on the head."""
        (head,) = self._kube.list("pods", NAMESPACE, "ray.io/node-type=head")
        cluster = head["metadata"]["labels"]["ray.io/cluster"]
        return f"http://{self._kube.address(cluster, NAMESPACE, 'serve')}"

    def mlflow_url(self) -> str:
        """Give the address of the server beside the stand-in."""
        return f"http://{self._mlflow}"

    def scalers(self) -> set[str]:
        """Name the users whose requests have set sizes of worker groups."""
        return {seen.user for seen in self._kube.requests if seen.verb == "patch" and _sets_replicas(seen.body)}

    def faults(self) -> list[str]:
        """Give the errors of the stand-ins."""
        return self._kube.failures


def _sets_replicas(patch: object) -> bool:
    return isinstance(patch, list) and any(step["path"].endswith("/replicas") for step in patch)


@contextmanager
def standin(folder: Path) -> Iterator[Place]:
    """Start it, with an MLflow server; pods other than Ray's have no processes, so the ledger is an SQLite file."""
    with _mlflow(folder) as address:
        chosen = {
            # A pod finds credentials at a fixed path; on a machine that all share, there is none.
            "SLIPWAY_KUBERNETES": "kubeconfig",
            "SLIPWAY_DATABASE_URL": f"sqlite:///{folder / 'slipway.db'}",
            "SLIPWAY_RAY_DASHBOARD_URL": "http://127.0.0.1:8265",
        }
        with kube_cluster(_POOLS, environment=chosen, services={"mlflow.slipway:5000": address}) as kube:
            yield StandIn(kube, address)


@contextmanager
def _mlflow(folder: Path) -> Iterator[str]:
    """Start a server, which jobs wait for."""
    with reserved_ports() as ports:
        command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(ports.mlflow)]
        command += ["--workers", "1", "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"]
        command += ["--artifacts-destination", str(folder / "artifacts")]
        environment = {
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
            "HOME": str(folder),
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            **mark(folder.name, "MLflow"),
        }
        try:
            spawn(command, environment, folder / "mlflow.log", folder)
            yield f"{HOST}:{ports.mlflow}"
        finally:
            stop_members(folder.name)
