"""From a URL to what is asked for."""

from collections.abc import Mapping
from dataclasses import dataclass

from tests.kube.standin.api.access import Wish
from tests.kube.standin.api.errors import unknown_path
from tests.kube.standin.api.kinds import Kind, Kinds

_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch"}


@dataclass(frozen=True)
class Route:
    """One request for objects."""

    kind: Kind
    namespace: str | None
    name: str
    subresource: str
    verb: str

    @property
    def wish(self) -> Wish:
        """What RBAC is asked."""
        resource = f"{self.kind.plural}/{self.subresource}" if self.subresource else self.kind.plural
        return Wish(self.verb, self.kind.group, resource, self.namespace, self.name)


def route(kinds: Kinds, method: str, path: str, query: Mapping[str, str]) -> Route:
    """Understand a request under `/api` or `/apis`. Raises ApiError 404 for a resource that is not served."""
    parts = path.strip("/").split("/")
    group, version, rest = ("", parts[1], parts[2:]) if parts[0] == "api" else (parts[1], parts[2], parts[3:])
    namespace = None
    # `/namespaces/x` is the namespace itself; with more after it, it is where the rest is.
    if rest[0] == "namespaces" and len(rest) > 2 and rest[2] not in ("status", "finalize"):
        namespace, rest = rest[1], rest[2:]
    kind = kinds.at(group, version, rest[0])
    name = rest[1] if len(rest) > 1 else ""
    subresource = "/".join(rest[2:])
    if namespace is None and kind.namespaced and (name or method not in ("GET", "HEAD")):
        raise unknown_path()
    return Route(kind, namespace if kind.namespaced else None, name, subresource, _verb(method, name, query))


def _verb(method: str, name: str, query: Mapping[str, str]) -> str:
    if method in ("GET", "HEAD"):
        if query.get("watch", "").lower() in ("true", "1"):
            return "watch"
        return "get" if name else "list"
    if method == "DELETE":
        return "delete" if name else "deletecollection"
    return _VERBS.get(method, method.lower())
