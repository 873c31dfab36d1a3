"""Sizes of worker groups, changed beside an autoscaler that changes them as well."""

from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from platform_app.adapters.kubernetes.api import RAY_CLUSTERS, KubernetesApi
from platform_app.adapters.kubernetes.refusals import ApiError
from platform_app.errors import NotFound

_ATTEMPTS = 4


def resize(api: KubernetesApi, namespace: str, cluster: str, group: str, fewest: int, most: int) -> None:
    """Change between how many workers the autoscaler keeps a group of a RayCluster.

    Only the bounds are written. `replicas` is the autoscaler's: it takes a lowered number back to the pods that it
    sees. Raised to `fewest` by the autoscaler itself, it falls to `most` as workers become idle. The patch names the
    group's place in the list, and holds only where that place is still this group's; else it is looked up again.

    Args:
        api: the cluster's API server.
        namespace: of the RayCluster.
        cluster: the RayCluster's name.
        group: name of the worker group.
        fewest: workers that are always there.
        most: workers that there may be.

    Raises:
        ValueError: the bounds contradict each other.
        NotFound: there is no such cluster, or it has no such group.
        TemporaryError: others changed it again and again, or Kubernetes is away.
    """
    if not 0 <= fewest <= most:
        raise ValueError(f"expected 0 <= min <= max; got min {fewest}, max {most}")
    for attempt in Retrying(
        stop=stop_after_attempt(_ATTEMPTS),
        wait=wait_random_exponential(multiplier=0.05, max=1),
        retry=retry_if_exception(_is_conflict),
        reraise=True,
    ):
        with attempt:
            _resize(api, namespace, cluster, group, fewest, most)


def _resize(api: KubernetesApi, namespace: str, cluster: str, group: str, fewest: int, most: int) -> None:
    found = api.get(RAY_CLUSTERS, cluster, namespace)
    if found is None:
        raise NotFound(f"there is no RayCluster {cluster} in namespace {namespace}")
    names = [one["groupName"] for one in found["spec"].get("workerGroupSpecs", [])]
    if group not in names:
        raise NotFound(f"RayCluster {cluster} has no worker group {group}; there is: {', '.join(names) or 'none'}")
    place = f"/spec/workerGroupSpecs/{names.index(group)}"
    api.json_patch(
        RAY_CLUSTERS,
        cluster,
        [
            {"op": "test", "path": f"{place}/groupName", "value": group},
            {"op": "add", "path": f"{place}/minReplicas", "value": fewest},
            {"op": "add", "path": f"{place}/maxReplicas", "value": most},
        ],
        namespace,
    )


def _is_conflict(error: BaseException) -> bool:
    """Tell whether someone else changed it meanwhile: a conflict, or a test of the patch that does not hold."""
    return isinstance(error, ApiError) and error.status in (409, 422)
