"""What a cluster has and what it should have: the two that the checks compare. Objects are plain dictionaries."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from platform_app.specs import Catalog

Object = Mapping[str, Any]


class NotRead(LookupError):
    """A check needs objects that could not be read: nothing is known, so nothing is found."""


@dataclass(frozen=True)
class Unread:
    """Objects that could not be read."""

    kind: str
    namespace: str | None
    """None: those of all namespaces, or of none."""
    why: str
    mend: str


@dataclass(frozen=True)
class Snapshot:
    """A cluster's objects as they were read."""

    objects: Mapping[str, tuple[Object, ...]]
    """By kind. A kind that is absent is one that the cluster does not know."""
    unread: tuple[Unread, ...] = ()

    def all(self, kind: str, namespace: str | None = None) -> tuple[Object, ...]:
        """Give the objects of a kind, of one namespace or of all that were looked at.

        Raises:
            NotRead: they could not be read.
        """
        for one in self.unread:
            if one.kind == kind and (namespace is None or one.namespace in (None, namespace)):
                raise NotRead(one.why)
        found = self.objects.get(kind, ())
        return tuple(o for o in found if namespace in (None, o["metadata"].get("namespace")))

    def find(self, kind: str, name: str, namespace: str | None = None) -> Object | None:
        """Give one object; None where there is none. Raises NotRead as `all` does."""
        return next((o for o in self.all(kind, namespace) if o["metadata"]["name"] == name), None)

    def knows(self, kind: str) -> bool:
        """Tell whether the cluster serves a kind that is not built in; what could not be read is taken to be there."""
        return kind in self.objects or any(one.kind == kind for one in self.unread)


@dataclass(frozen=True)
class Wanted:
    """What the catalog, and the manifests that are rendered from it, lead to."""

    catalog: Catalog
    namespace: str
    """Where the platform runs."""
    ray_version: str
    worker_groups: Mapping[str, Object]
    """Each of `workerGroupSpecs`, by its name."""
    priority_classes: tuple[Object, ...]
    teams: Mapping[str, tuple[Object, ...]]
    """What each team's namespace has before the first job, the namespace among it, by the namespace's name."""
    storage_claim: str
    pool_label: str
    gpu_taint: str
    spot_labels: Mapping[str, str]
    """How clouds mark a spot node: label and value."""

    @property
    def namespaces(self) -> tuple[str, ...]:
        """The platform's own and the teams'."""
        return (self.namespace, *self.teams)


def name_of(one: Object) -> str:
    """Give an object's name, with its namespace where it has one."""
    metadata = one["metadata"]
    return f"{metadata['namespace']}/{metadata['name']}" if metadata.get("namespace") else str(metadata["name"])


def labels_of(one: Object) -> Mapping[str, str]:
    """Give an object's labels."""
    return one["metadata"].get("labels") or {}


def condition(one: Object, kind: str) -> Object:
    """Give a condition of an object's status; empty where it has none of that type."""
    found = (one.get("status") or {}).get("conditions") or ()
    return next((condition for condition in found if condition["type"] == kind), {})


def namespaces_there(cluster: Snapshot, wanted: Wanted) -> tuple[str, ...]:
    """Give those of the wanted namespaces that are there: an absent one is told of once, and as such."""
    there = {one["metadata"]["name"] for one in cluster.all("Namespace")}
    return tuple(namespace for namespace in wanted.namespaces if namespace in there)


def ray_service(cluster: Snapshot, wanted: Wanted) -> Object | None:
    """Give the platform's own RayService; None where there is none."""
    return next(iter(cluster.all("RayService", wanted.namespace)), None)


def ray_cluster(cluster: Snapshot, wanted: Wanted) -> Object:
    """Give the spec of the platform's Ray cluster; empty where there is none."""
    service = ray_service(cluster, wanted)
    return (service or {}).get("spec", {}).get("rayClusterConfig") or {}


def templates(spec: Object) -> Iterator[tuple[str, Object]]:
    """Give the pod templates of a Ray cluster: the head's, then each worker group's by its name."""
    if spec:
        yield "the head", spec.get("headGroupSpec", {}).get("template", {})
    for group in spec.get("workerGroupSpecs") or ():
        yield group["groupName"], group.get("template", {})


def variables(container: Object, cluster: Snapshot, namespace: str) -> dict[str, str]:
    """Give a container's environment, as far as it is written plainly or is a ConfigMap's."""
    found: dict[str, str] = {}
    for source in container.get("envFrom") or ():
        if name := source.get("configMapRef", {}).get("name"):
            found |= (cluster.find("ConfigMap", name, namespace) or {}).get("data") or {}
    return found | {one["name"]: one["value"] for one in container.get("env") or () if "value" in one}
