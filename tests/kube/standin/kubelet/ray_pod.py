"""How a pod of Ray is started on a machine that it shares with other pods."""

import resource
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.kube.standin.api.objects import Api
from tests.kube.standin.kubelet.environment import expand, variables
from tests.kube.standin.kubelet.network import RAY_PORTS, Network, accepts, own_address
from tests.kube.standin.kubelet.volumes import Volumes, relocate

_MONITOR_PORTS = {"AUTOSCALER_METRIC_PORT": 44217, "DASHBOARD_METRIC_PORT": 44227}

_PATIENCE = {
    # Many pods start on one machine, which may be slow: what a container of its own would do in its time waits longer.
    "RAY_agent_register_timeout_ms": "240000",
    "RAY_DASHBOARD_STARTUP_TIMEOUT_S": "180",
}

Object = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """What tests choose about containers."""

    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables that every container of Ray has, over its own."""
    services: Mapping[str, str] = field(default_factory=dict)
    """Addresses here of services that the stand-in does not run: `mlflow.slipway:5000` → `127.0.0.1:5012`."""
    mounts: Mapping[str, str] = field(default_factory=dict)
    """Folders on this machine for paths in containers, over those of their volumes."""
    object_store_bytes: int = 100_000_000


def is_ray(pod: Object) -> bool:
    """Say whether a pod is one of Ray's, which alone become processes."""
    return (pod["metadata"].get("labels") or {}).get("ray.io/is-ray-node") == "yes"


def is_head(pod: Object) -> bool:
    """Say whether a pod of Ray is the head."""
    return pod["metadata"]["labels"].get("ray.io/node-type") == "head"


class RayPods:
    """Gives commands and variables, and says which pods are up."""

    def __init__(
        self,
        api: Api,
        network: Network,
        settings: Settings,
        volumes: Volumes,
        temp_dir: Path,
        credentials: Callable[[str, str], Mapping[str, str]],
    ) -> None:
        """`credentials` gives the variables by which a service account, by namespace and name, finds the API server."""
        self._api = api
        self._network = network
        self._settings = settings
        self._volumes = volumes
        self._temp_dir = temp_dir
        self._credentials = credentials

    def head(self, pod: Object) -> Object | None:
        """Find the head of a pod's cluster; None while there is none."""
        if is_head(pod):
            return pod
        metadata = pod["metadata"]
        selector = f"ray.io/cluster={metadata['labels']['ray.io/cluster']},ray.io/node-type=head"
        heads = self._api.list(self._api.kinds.named("pods"), metadata["namespace"], selector)
        return next((one for one in heads if not one["metadata"].get("deletionTimestamp")), None)

    def gcs_answers(self, pod: Object) -> bool:
        """Say whether the pod's cluster has a head that workers can connect to."""
        head = self.head(pod)
        return head is not None and accepts(self._network.port(head, RAY_PORTS["gcs"]))

    def is_ready(self, pod: Object) -> bool:
        """Say what the readiness probe would: Ray's agent answers, and on a head its store and dashboard."""
        names = ["agent", "gcs", "dashboard"] if is_head(pod) else ["agent"]
        line = " ".join(pod["spec"]["containers"][0].get("args") or ())
        if "--include-dashboard=false" in line:
            names = [name for name in names if name != "dashboard"]
        return all(accepts(self._network.port(pod, RAY_PORTS[name])) for name in names)

    def command(self, pod: Object, container: Object, env: Mapping[str, str]) -> list[str]:
        """Give a container's command line."""
        words = [*(container.get("command") or ()), *(container.get("args") or ())]
        mounts = self._volumes.mounts(pod, container)
        return [self.localize(expand(word, env), mounts) for word in words]

    def environment(self, pod: Object, container: Object) -> dict[str, str]:
        """Give a container's variables. Raises ConfigError where they refer to what is not there."""
        mounts = self._volumes.mounts(pod, container)
        values = {
            name: self._network.rewrite_port(pod, container, name, self.localize(value, mounts))
            for name, value in variables(self._api, pod, container).items()
        }
        chosen = {
            name: self._network.rewrite_loopback(pod, value) for name, value in self._settings.environment.items()
        }
        head = self.head(pod) or pod
        gcs = self._network.address(head, RAY_PORTS["gcs"])
        monitors = {name: str(self._network.port(pod, port)) for name, port in _MONITOR_PORTS.items()}
        return {
            **values,
            **self._credentials(pod["metadata"]["namespace"], pod["spec"]["serviceAccountName"]),
            **monitors,
            **_PATIENCE,
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_START_ULIMIT_OPEN_FILES": str(resource.getrlimit(resource.RLIMIT_NOFILE)[1]),
            "RAY_ADDRESS": gcs,
            "STANDIN_RAY_START": " ".join(self._start_options(pod, gcs)),
            "STANDIN_RAY_AUTOSCALER": f"--gcs-address={gcs}",
            **chosen,
        }

    def localize(self, text: str, mounts: Mapping[str, str] | None = None) -> str:
        """Rewrite what containers know by another name than this machine: services and mounted folders."""
        text = self._network.rewrite_services(text, self._settings.services)
        return relocate(text, {**(mounts or {}), **self._settings.mounts})

    def _start_options(self, pod: Object, gcs: str) -> list[str]:
        options = {
            "node-ip-address": own_address(),
            "metrics-export-port": self._network.port(pod, RAY_PORTS["metrics"]),
            "dashboard-agent-listen-port": self._network.port(pod, RAY_PORTS["agent"]),
            "min-worker-port": 0,
            "max-worker-port": 0,
            "object-store-memory": self._settings.object_store_bytes,
        }
        if is_head(pod):
            options |= {
                "port": self._network.port(pod, RAY_PORTS["gcs"]),
                "dashboard-host": own_address(),
                "dashboard-port": self._network.port(pod, RAY_PORTS["dashboard"]),
                "ray-client-server-port": self._network.port(pod, RAY_PORTS["client"]),
                "temp-dir": self._temp_dir / pod["metadata"]["uid"][:6],
            }
        else:
            # All nodes write into the head's session folder, which the head's log monitor reads already.
            options |= {"address": gcs, "include-log-monitor": "false"}
        return [f"--{name}={value}" for name, value in options.items()]
