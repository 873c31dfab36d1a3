"""What the journey reads of the platform's Ray cluster, by the Kubernetes API."""

from platform_app.adapters.kubernetes.api import PODS, RAY_CLUSTERS, Object, Resource
from platform_app.specs import Catalog
from tests.kube.e2e.place import Place

NAMESPACE, SERVICE = "slipway", "slipway"
RAY_SERVICES = Resource("rayservices", "ray.io/v1")


class PlatformCluster:
    """The RayService, the RayCluster behind it, and its workers."""

    def __init__(self, place: Place, catalog: Catalog) -> None:
        self._kubernetes = place.kubernetes
        self._gpu_groups = {group.name for group in catalog.worker_groups if group.gpus}

    def is_ready(self) -> bool:
        """Say whether the control plane answers behind its service."""
        conditions = self._status().get("conditions") or ()
        return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)

    def replicas(self) -> int:
        """Count the GPU workers that the autoscaler asks for."""
        name = (self._status().get("activeServiceStatus") or {}).get("rayClusterName")
        cluster = self._kubernetes.get(RAY_CLUSTERS, name, NAMESPACE) if name else None
        groups = cluster["spec"]["workerGroupSpecs"] if cluster else ()
        return sum(group.get("replicas") or 0 for group in groups if group["groupName"] in self._gpu_groups)

    def workers(self) -> list[Object]:
        """Give the pods of GPU workers, oldest first; of those too that are ending."""
        groups = f"ray.io/group in ({','.join(sorted(self._gpu_groups))})"
        found = self._kubernetes.list(PODS, NAMESPACE, labelSelector=groups)
        return sorted(found, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))

    def seen(self) -> str:
        """Tell of the GPU workers in a few words."""
        states = [_state(pod) for pod in self.workers()]
        told = [f"{states.count(state)} {state}" for state in sorted(set(states))]
        return f"{self.replicas()} asked" + "".join(f", {one}" for one in told)

    def _status(self) -> Object:
        service = self._kubernetes.get(RAY_SERVICES, SERVICE, NAMESPACE) or {}
        status: Object = service.get("status") or {}
        return status


def _state(pod: Object) -> str:
    if pod["metadata"].get("deletionTimestamp"):
        return "ending"
    return "up" if pod["status"].get("phase") == "Running" else "coming"
