"""Which kinds of objects are served: the built-in ones, and those that CustomResourceDefinitions in the store add."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from tests.kube.standin.api.errors import unknown_path


@dataclass(frozen=True)
class Kind:
    """One kind of objects at one served version."""

    group: str
    version: str
    name: str
    plural: str
    namespaced: bool = True
    has_status: bool = False
    """`status` is written by `…/status` alone."""
    custom: bool = False
    short_names: tuple[str, ...] = ()

    @property
    def resource(self) -> str:
        """The name that is the same for all versions: `pods`, `rayclusters.ray.io`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def group_kind(self) -> str:
        """How messages about invalid objects name it."""
        return f"{self.name}.{self.group}" if self.group else self.name

    @property
    def api_version(self) -> str:
        """The objects' `apiVersion`."""
        return f"{self.group}/{self.version}" if self.group else self.version


def _builtin(api_version: str, names: str, *, namespaced: bool = True, status: str = "") -> Iterator[Kind]:
    group, _, version = api_version.rpartition("/")
    for entry in names.split():
        name, plural, *short = entry.split(":")
        yield Kind(group, version, name, plural, namespaced, name in status.split(), short_names=tuple(short))


BUILTIN: tuple[Kind, ...] = (
    *_builtin(
        "v1",
        "Pod:pods:po Service:services:svc ConfigMap:configmaps:cm Secret:secrets Event:events:ev"
        " ServiceAccount:serviceaccounts:sa ResourceQuota:resourcequotas:quota LimitRange:limitranges:limits"
        " PersistentVolumeClaim:persistentvolumeclaims:pvc Endpoints:endpoints:ep",
        status="Pod Service ResourceQuota PersistentVolumeClaim",
    ),
    *_builtin("v1", "Namespace:namespaces:ns Node:nodes:no PersistentVolume:persistentvolumes:pv", namespaced=False),
    *_builtin("apps/v1", "Deployment:deployments:deploy StatefulSet:statefulsets:sts DaemonSet:daemonsets:ds"),
    *_builtin("batch/v1", "Job:jobs CronJob:cronjobs:cj", status="Job"),
    *_builtin("policy/v1", "PodDisruptionBudget:poddisruptionbudgets:pdb"),
    *_builtin("networking.k8s.io/v1", "NetworkPolicy:networkpolicies:netpol Ingress:ingresses:ing"),
    *_builtin("rbac.authorization.k8s.io/v1", "Role:roles RoleBinding:rolebindings"),
    *_builtin(
        "rbac.authorization.k8s.io/v1",
        "ClusterRole:clusterroles ClusterRoleBinding:clusterrolebindings",
        namespaced=False,
    ),
    *_builtin("scheduling.k8s.io/v1", "PriorityClass:priorityclasses:pc", namespaced=False),
    *_builtin("storage.k8s.io/v1", "StorageClass:storageclasses:sc CSIDriver:csidrivers", namespaced=False),
    *_builtin("apiextensions.k8s.io/v1", "CustomResourceDefinition:customresourcedefinitions:crd", namespaced=False),
    *_builtin("coordination.k8s.io/v1", "Lease:leases"),
    *_builtin("events.k8s.io/v1", "Event:events:ev"),
    *_builtin(
        "authorization.k8s.io/v1",
        "SelfSubjectAccessReview:selfsubjectaccessreviews",
        namespaced=False,
    ),
)


class Kinds:
    """The kinds that are served now."""

    def __init__(self) -> None:
        self._by_path = {(kind.group, kind.version, kind.plural): kind for kind in BUILTIN}

    def at(self, group: str, version: str, plural: str) -> Kind:
        """Find a kind by its path. Raises ApiError 404 when it is not served."""
        try:
            return self._by_path[group, version, plural]
        except KeyError:
            raise unknown_path() from None

    def of(self, obj: dict[str, Any]) -> Kind:
        """Find the kind of an object. Raises ApiError 404 when it is not served."""
        group, _, version = str(obj.get("apiVersion", "")).rpartition("/")
        for kind in self._by_path.values():
            if (kind.group, kind.version, kind.name) == (group, version, obj.get("kind")):
                return kind
        raise unknown_path()

    def named(self, resource: str) -> Kind:
        """Find a kind by its resource name, plural or singular: `pods`, `rayclusters.ray.io`, `rayclusters`."""
        for kind in self._by_path.values():
            if resource in (kind.resource, kind.plural):
                return kind
        raise unknown_path()

    def __iter__(self) -> Iterator[Kind]:
        return iter(self._by_path.values())

    def install(self, definition: dict[str, Any]) -> None:
        """Serve what a CustomResourceDefinition defines."""
        for kind in defined(definition):
            self._by_path[kind.group, kind.version, kind.plural] = kind

    def remove(self, definition: dict[str, Any]) -> None:
        """Serve it no longer."""
        for kind in defined(definition):
            self._by_path.pop((kind.group, kind.version, kind.plural), None)


def defined(definition: dict[str, Any]) -> Iterable[Kind]:
    """Give the kinds that a CustomResourceDefinition serves, one for each version, the stored one first."""
    spec = definition["spec"]
    names = spec["names"]
    kind = Kind(
        group=spec["group"],
        version="",
        name=names["kind"],
        plural=names["plural"],
        namespaced=spec.get("scope", "Namespaced") == "Namespaced",
        custom=True,
        short_names=tuple(names.get("shortNames") or ()),
    )
    versions = sorted((one for one in spec["versions"] if one.get("served")), key=lambda one: not one.get("storage"))
    for one in versions:
        yield replace(kind, version=one["name"], has_status="status" in (one.get("subresources") or {}))
