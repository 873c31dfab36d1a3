"""A cluster's API server, with what tests do to it and read of it."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml

from tests.kube.standin.admission import default_admission
from tests.kube.standin.admission.quota import keep_status
from tests.kube.standin.api.access import MASTERS, User
from tests.kube.standin.api.faults import Fault, Seen
from tests.kube.standin.api.objects import Api
from tests.kube.standin.api.patches import APPLY
from tests.kube.standin.api.server import Server
from tests.kube.standin.certificates import Authority
from tests.kube.standin.credentials import Credentials
from tests.kube.standin.definitions import installed
from tests.kube.standin.kubelet.network import Network
from tests.kube.standin.serving import HOST, Serving

T = TypeVar("T")

Object = dict[str, Any]


class KubeCluster:
    """A cluster that runs. Its methods may be called from any thread."""

    def __init__(self, home: Path, groups: tuple[str, ...] | None = None) -> None:
        """Prepare an API server with the CRDs of some API groups, or of all that are known, in a short folder."""
        self.home = home
        self.failures: list[str] = []
        """Errors of the stand-ins themselves: there should be none."""
        self.api = Api(default_admission())
        self.api.store.after.append(keep_status(self.api))
        self.server = Server(self.api, self._log)
        self.network = Network()
        self._authority = Authority(home / "tls")
        certificate = self._authority.server(HOST)
        self._serving = Serving(self.server, certificate, self._authority.certificate)
        self._serving.start()
        self.url = f"https://{HOST}:{self._serving.port}"
        """Where the API server answers."""
        self.credentials = Credentials(self._authority, self.server.tokens, home / "kube", self.url)
        self.kubeconfig = self.credentials.kubeconfig(User.of("kubernetes-admin", [MASTERS]))
        """File for clients that may do everything."""
        self.apply(installed(groups))
        self.apply(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in ("default", "kube-system")
        )

    # ---- objects

    def apply(self, objects: str | Path | Object | Iterable[Object]) -> list[Object]:
        """Create objects, or change them to what is given: YAML text, a file, an object or several, Lists too.

        Raises:
            ApiError: one of them is refused.
        """
        return [self._serving.call(lambda obj=obj: self._apply(obj)) for obj in _objects(objects)]

    def _apply(self, obj: Object) -> Object:
        kind, metadata = self.api.kinds.of(obj), obj["metadata"]
        namespace = metadata.get("namespace", "default") if kind.namespaced else None
        if "name" not in metadata:
            return self.api.create(kind, namespace, obj)
        return self.api.patch(kind, namespace, metadata["name"], obj, APPLY, "tests")

    def get(self, resource: str, name: str, namespace: str | None = None) -> Object | None:
        """Give an object, such as `get("pods", "rc-head", "team-a")`; None when it is not there."""
        return self._serving.call(lambda: self.api.find(resource, namespace, name))

    def list(self, resource: str, namespace: str | None = None, labels: str | None = None) -> list[Object]:
        """Give the objects of a resource, of one namespace or of all."""
        return self._serving.call(lambda: self.api.list(self.api.kinds.named(resource), namespace, labels))

    def delete(self, resource: str, name: str, namespace: str | None = None) -> None:
        """Delete an object. Raises ApiError when it is not there."""
        self._serving.call(lambda: self.api.delete(self.api.kinds.named(resource), namespace, name))

    def set_status(self, resource: str, name: str, status: Object, namespace: str | None = None) -> None:
        """Write an object's status, as a controller would that is not here."""
        kind = self.api.kinds.named(resource)
        self._serving.call(lambda: self.api.set_status(kind, self.api.get(kind, namespace, name), status))

    def events(self, namespace: str, name: str | None = None) -> Sequence[tuple[str, str]]:
        """Give the reasons and messages of a namespace's events, or of those about one object, oldest first."""
        found = self.list("events", namespace)
        return [(one["reason"], one["message"]) for one in found if name in (None, one["involvedObject"]["name"])]

    def call(self, work: Callable[[], T]) -> T:
        """Call a function where alone the objects may be touched without a copy: in the server's event loop."""
        return self._serving.call(work)

    # ---- what the server saw, and what it does wrong

    @property
    def requests(self) -> Sequence[Seen]:
        """The requests that were answered, oldest first."""
        return tuple(self.server.seen)

    def fault(self, **plan: Any) -> Fault:
        """Plan a fault, with the fields of `Fault`; `heal` ends it."""
        fault = Fault(**plan)
        self.server.faults.append(fault)
        return fault

    def forbid(self, verb: str | None = None, resource: str | None = None, **plan: Any) -> Fault:
        """Refuse a verb on a resource as RBAC does; `resource` is RBAC's, such as `pods/log`."""
        return self.fault(verb=verb, resource=resource, forbid=True, **plan)

    def heal(self) -> None:
        """End all faults."""
        self.server.faults.clear()

    def user(self, name: str, groups: Iterable[str] = ()) -> Path:
        """Give a kubeconfig for a user with the rights that Roles and Bindings in the cluster give."""
        return self.credentials.kubeconfig(User.of(name, groups))

    def service_account(self, namespace: str, name: str) -> Path:
        """Give a kubeconfig for a service account."""
        return self.user(f"system:serviceaccount:{namespace}:{name}")

    def eventually(self, look: Callable[[], T], timeout: float = 60.0) -> T:
        """Look again and again until something is seen, and give it. Fails with what the cluster's events say."""
        deadline = time.monotonic() + timeout
        while not (found := look()):
            if time.monotonic() > deadline:
                said = [
                    f"{one['involvedObject']['name']}: {one['reason']}: {one['message']}" for one in self.list("events")
                ]
                raise AssertionError("\n".join([f"not seen within {timeout:g} s", *said[-20:], *self.failures[-3:]]))
            time.sleep(0.2)
        return found

    def stop(self) -> None:
        """End the API server."""
        self._serving.stop()

    def _log(self, namespace: str, pod: str, container: str | None) -> str | None:
        path = self.home / "pods" / namespace / pod / f"{container}.log"
        return path.read_text(errors="replace") if path.exists() else None


def _objects(given: str | Path | Object | Iterable[Object]) -> Iterator[Object]:
    if isinstance(given, Path):
        given = given.read_text()
    if isinstance(given, str):
        given = [one for one in yaml.load_all(given, getattr(yaml, "CSafeLoader", yaml.SafeLoader)) if one]
    for obj in [given] if isinstance(given, Mapping) else given:
        if obj.get("kind") == "List":
            yield from _objects(obj["items"])
        else:
            yield dict(obj)
