"""The state of a RayCluster, summed up from its pods as KubeRay does."""

from typing import Any

from tests.kube.standin.api.errors import ApiError
from tests.kube.standin.operator.conditions import set_condition

Object = dict[str, Any]


def desired(group: Object) -> int:
    """Say how many workers a group should have, within its bounds."""
    if group.get("suspend"):
        return 0
    least, most = group.get("minReplicas") or 0, group.get("maxReplicas", 2147483647)
    return max(least, min(group.get("replicas") or 0, most))


def status_of(cluster: Object, pods: list[Object], failure: tuple[str, ApiError] | None) -> Object:
    """Sum a cluster's state up from its pods."""
    status = dict(cluster.get("status") or {})
    groups = cluster["spec"].get("workerGroupSpecs") or ()
    workers = [pod for pod in pods if is_labelled(pod, "node-type", "worker")]
    head = next((pod for pod in pods if is_labelled(pod, "node-type", "head")), None)
    wanted = sum(desired(group) for group in groups)
    status |= {
        "observedGeneration": cluster["metadata"].get("generation", 1),
        "desiredWorkerReplicas": wanted,
        "readyWorkerReplicas": sum(ready(pod) for pod in workers),
        "availableWorkerReplicas": sum(pod["status"].get("phase") == "Running" for pod in workers),
        "minWorkerReplicas": sum(group.get("minReplicas") or 0 for group in groups),
        "maxWorkerReplicas": min(sum(group.get("maxReplicas") or 0 for group in groups), 2147483647),
    }
    conditions = [dict(one) for one in status.get("conditions") or ()]
    if failure and failure[0]:
        set_condition(conditions, "ReplicaFailure", True, failure[0], str(failure[1]))
    elif not failure:
        conditions = [one for one in conditions if one["type"] != "ReplicaFailure"]
    _tell_head(conditions, status, head, cluster)
    suspend = bool(cluster["spec"].get("suspend"))
    set_condition(conditions, "RayClusterSuspending", suspend and bool(pods), "RayClusterSuspending")
    set_condition(conditions, "RayClusterSuspended", suspend and not pods, "RayClusterSuspended")
    if suspend and not pods:
        status["state"] = "suspended"
    elif not failure and len(pods) == wanted + 1 and all(ready(pod) for pod in pods):
        status["state"] = "ready"
        set_condition(
            conditions,
            "RayClusterProvisioned",
            True,
            "AllPodRunningAndReadyFirstTime",
            "All Ray Pods are ready for the first time",
        )
    status["conditions"] = conditions
    return status


def _tell_head(conditions: list[Object], status: Object, head: Object | None, cluster: Object) -> None:
    if head is None:
        set_condition(conditions, "HeadPodReady", False, "HeadPodNotFound", "Head Pod not found")
    else:
        up = ready(head)
        set_condition(conditions, "HeadPodReady", up, "HeadPodRunningAndReady" if up else "ContainersNotReady")
        name, address = head["metadata"]["name"], head["status"].get("podIP", "")
        status["head"] = {"podName": name, "podIP": address, "serviceName": f"{cluster['metadata']['name']}-head-svc"}
    if not any(one["type"] == "RayClusterProvisioned" for one in conditions):
        message = "RayCluster Pods are being provisioned for first time"
        set_condition(conditions, "RayClusterProvisioned", False, "RayClusterPodsProvisioning", message)


def ready(pod: Object) -> bool:
    """Say whether a pod's readiness probe is content."""
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def is_labelled(pod: Object, label: str, value: str) -> bool:
    """Say whether one of Ray's own labels of a pod, such as `node-type`, has a value."""
    return pod["metadata"]["labels"].get(f"ray.io/{label}") == value
