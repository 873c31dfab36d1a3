"""Reads a cluster for `slipway doctor`: with the rights of whoever asks, and never more than a look."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from platform_app.adapters.kubernetes.api import KubernetesApi, Object, Resource
from platform_app.adapters.kubernetes.refusals import ApiError
from platform_app.domain.doctor import Snapshot, Unread, Wanted
from platform_app.errors import TemporaryError

_AT_A_TIME = 8

_CLUSTER_WIDE = {
    "Node": Resource("nodes", "v1"),
    "Namespace": Resource("namespaces", "v1"),
    "PersistentVolume": Resource("persistentvolumes", "v1"),
    "PriorityClass": Resource("priorityclasses", "scheduling.k8s.io/v1"),
    "DaemonSet": Resource("daemonsets", "apps/v1"),
    "Deployment": Resource("deployments", "apps/v1"),
    "NodePool": Resource("nodepools", "karpenter.sh/v1"),
    "ClusterQueue": Resource("clusterqueues", "kueue.x-k8s.io/v1beta2"),
}
_IN_EACH_NAMESPACE = {
    "ResourceQuota": Resource("resourcequotas", "v1"),
    "LimitRange": Resource("limitranges", "v1"),
    "PersistentVolumeClaim": Resource("persistentvolumeclaims", "v1"),
    "Service": Resource("services", "v1"),
    "Ingress": Resource("ingresses", "networking.k8s.io/v1"),
    "NetworkPolicy": Resource("networkpolicies", "networking.k8s.io/v1"),
    "RoleBinding": Resource("rolebindings", "rbac.authorization.k8s.io/v1"),
    "LocalQueue": Resource("localqueues", "kueue.x-k8s.io/v1beta2"),
}
_OF_THE_PLATFORM = {
    "RayService": Resource("rayservices", "ray.io/v1"),
    "Pod": Resource("pods", "v1"),
    "Event": Resource("events", "v1"),
    "Secret": Resource("secrets", "v1"),
    "ConfigMap": Resource("configmaps", "v1"),
    "StatefulSet": Resource("statefulsets", "apps/v1"),
    "PodDisruptionBudget": Resource("poddisruptionbudgets", "policy/v1"),
}
_DEFINITIONS = Resource("customresourcedefinitions", "apiextensions.k8s.io/v1")
_RAY_DEFINITIONS = ("rayclusters.ray.io", "rayjobs.ray.io", "rayservices.ray.io")


@dataclass(frozen=True)
class _Look:
    """One read: the objects of a kind, or the one of a name."""

    kind: str
    resource: Resource
    namespace: str | None = None
    name: str | None = None


def snapshot(api: KubernetesApi, wanted: Wanted) -> Snapshot:
    """Read all that the checks look at, some kinds at a time; each read has the time limit of `KubernetesApi`.

    A read that is refused is told in `Snapshot.unread`, and does not keep the others from being made.

    Raises:
        TemporaryError: nothing can be read: no kubeconfig, no answer in time, credentials that are not accepted, or
            every single read refused.
    """
    looks = list(_looks(wanted))
    # The first alone: where there is no way in, it is tried once.
    first = _read(api, looks[0])
    with ThreadPoolExecutor(_AT_A_TIME) as readers:
        answers = [first, *readers.map(lambda look: _read(api, look), looks[1:])]
    objects: dict[str, tuple[Object, ...]] = {}
    unread = []
    for look, answer in zip(looks, answers, strict=True):
        if isinstance(answer, Unread):
            unread.append(answer)
        elif answer is not None:
            objects[look.kind] = (*objects.get(look.kind, ()), *answer)
    if not objects and unread:
        raise TemporaryError(f"nothing of the cluster can be read: {unread[0].why}; {unread[0].mend}")
    return Snapshot(objects, tuple(_told_once(unread)))


def _looks(wanted: Wanted) -> Iterator[_Look]:
    yield from (_Look(kind, resource) for kind, resource in _CLUSTER_WIDE.items())
    for namespace in wanted.namespaces:
        yield from (_Look(kind, resource, namespace) for kind, resource in _IN_EACH_NAMESPACE.items())
    yield from (_Look(kind, resource, wanted.namespace) for kind, resource in _OF_THE_PLATFORM.items())
    # By name: a definition of KubeRay is a megabyte, and a cluster has hundreds of others'.
    yield from (_Look("CustomResourceDefinition", _DEFINITIONS, name=name) for name in _RAY_DEFINITIONS)
    yield _Look("ConfigMap", _OF_THE_PLATFORM["ConfigMap"], "kube-system", "cluster-autoscaler-status")


def _read(api: KubernetesApi, look: _Look) -> tuple[Object, ...] | Unread | None:
    """Read; None where the cluster knows no such kind."""
    try:
        if look.name is None:
            found = api.list(look.resource, look.namespace)
        else:
            one = api.get(look.resource, look.name, look.namespace)
            found = [one] if one else []
    except ApiError as error:
        if error.is_not_served:
            return None
        if error.status == 401:
            raise
        why, _, mend = str(error).partition(": add verb")
        remedy = f"add verb{mend}, or ask as another user (--kubeconfig, --context)" if mend else "look again later"
        return Unread(look.kind, look.namespace, why, remedy)
    if look.kind == "Secret":
        # Which keys there are is all that is looked at: the values are let go of at once.
        found = [{**one, "data": dict.fromkeys(one.get("data") or {}, "")} for one in found]
    # Quotas and policies may leave theirs out.
    return tuple({"spec": {}, **one} for one in found)


def _told_once(unread: Iterable[Unread]) -> Iterator[Unread]:
    seen = set()
    for one in unread:
        if (one.kind, one.namespace) not in seen:
            seen.add((one.kind, one.namespace))
            yield one
