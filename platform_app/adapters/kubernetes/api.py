"""The Kubernetes API in seven verbs over plain dictionaries; each call has a time limit and its own clear errors."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3
from kubernetes import config
from kubernetes.client.api_client import ApiClient
from kubernetes.client.configuration import Configuration
from kubernetes.client.exceptions import ApiException
from kubernetes.config.config_exception import ConfigException

from platform_app.adapters.kubernetes.refusals import ApiError, refusal
from platform_app.errors import TemporaryError

Object = dict[str, Any]

_CONNECT_SECONDS, _READ_SECONDS = 3.0, 10.0
_PAGE = 500
_APPLIES = "application/apply-patch+yaml"
_JSON_PATCH = "application/json-patch+json"


@dataclass(frozen=True)
class Resource:
    """A kind of objects, as the API's paths name it."""

    plural: str
    version: str
    """`v1`, or group and version: `ray.io/v1`."""

    def path(self, namespace: str | None = None, name: str | None = None) -> str:
        """Give the path of one object, of a namespace's objects, or of all."""
        root = f"/apis/{self.version}" if "/" in self.version else f"/api/{self.version}"
        scope = f"/namespaces/{namespace}" if namespace else ""
        return f"{root}{scope}/{self.plural}" + (f"/{name}" if name else "")


NAMESPACES = Resource("namespaces", "v1")
PODS = Resource("pods", "v1")
EVENTS = Resource("events", "v1")
QUOTAS = Resource("resourcequotas", "v1")
RAY_JOBS = Resource("rayjobs", "ray.io/v1")
RAY_CLUSTERS = Resource("rayclusters", "ray.io/v1")
WORKLOADS = Resource("workloads", "kueue.x-k8s.io/v1beta2")


class KubernetesApi:
    """One cluster's API server.

    Every verb raises `ApiError` where the server refuses, and TemporaryError where it does not answer in time.
    """

    def __init__(self, connect: Callable[[], Configuration]) -> None:
        """Put it together; nothing is read and nobody asked before the first call.

        Args:
            connect: gives server and credentials; raises TemporaryError while there are none.
        """
        self._connect = connect
        self._connected: ApiClient | None = None

    @classmethod
    def from_kubeconfig(cls, path: Path | None = None, context: str | None = None) -> "KubernetesApi":
        """Connect as kubectl would: by a kubeconfig, else `KUBECONFIG`, else `~/.kube/config`."""

        def connect() -> Configuration:
            configuration = Configuration()
            with _explained("there is no usable kubeconfig", "set KUBECONFIG or SLIPWAY_KUBECONFIG"):
                config.load_kube_config(str(path) if path else None, context, configuration)
            return configuration

        return cls(connect)

    @classmethod
    def in_cluster(cls) -> "KubernetesApi":
        """Connect from within a pod, by its service account."""

        def connect() -> Configuration:
            configuration = Configuration()
            with _explained("this process runs in no pod with a service account", "set SLIPWAY_KUBERNETES=kubeconfig"):
                config.load_incluster_config(configuration)
            return configuration

        return cls(connect)

    def list(self, resource: Resource, namespace: str | None = None, **query: str) -> list[Object]:
        """Read objects, those of all namespaces without one, page by page.

        Args:
            resource: what kind.
            namespace: where.
            query: `labelSelector`, `fieldSelector`, `resourceVersion` as in the API. Version "0" reads the server's
                cache at once and unpaged: cheap, and maybe old.
        """
        items: list[Object] = []
        page = dict(query) if query.get("resourceVersion") == "0" else {**query, "limit": str(_PAGE)}
        while True:
            answer = self._json("GET", resource.path(namespace), page)
            items += answer.get("items") or []
            following = answer.get("metadata", {}).get("continue")
            if not following:
                return items
            page = {**page, "continue": following}

    def get(self, resource: Resource, name: str, namespace: str | None = None) -> Object | None:
        """Read one object; None where there is none."""
        try:
            return self._json("GET", resource.path(namespace, name))
        except ApiError as error:
            if error.is_absence:
                return None
            raise

    def create(self, resource: Resource, body: Mapping[str, Any], namespace: str | None = None) -> Object:
        """Create an object. Fields that the server does not know are an error and not dropped in silence."""
        return self._json("POST", resource.path(namespace), {"fieldValidation": "Strict"}, body)

    def apply(self, resource: Resource, body: Mapping[str, Any], namespace: str | None = None) -> Object:
        """Make an object be as given, creating it where it is not there (server-side apply, as field owner slipway).

        Fields that someone else owns are taken over: what the platform renders is the truth about them.
        """
        path = resource.path(namespace, body["metadata"]["name"])
        query = {"fieldManager": "slipway", "force": "true", "fieldValidation": "Strict"}
        return self._json("PATCH", path, query, body, _APPLIES)

    def json_patch(
        self, resource: Resource, name: str, operations: Sequence[Mapping[str, Any]], namespace: str | None = None
    ) -> Object:
        """Change parts of an object; nothing is changed where one of the operations fails."""
        return self._json("PATCH", resource.path(namespace, name), {}, [*operations], _JSON_PATCH)

    def delete(self, resource: Resource, name: str, namespace: str | None = None) -> None:
        """Delete an object and, in the background, what it owns; nothing happens where there is none."""
        try:
            self._json("DELETE", resource.path(namespace, name), {"propagationPolicy": "Background"})
        except ApiError as error:
            if not error.is_absence:
                raise

    def log(self, pod: str, namespace: str, container: str) -> str | None:
        """Read what a pod's container has written; None where there is no such pod, or it has not begun."""
        try:
            return self._send("GET", f"{PODS.path(namespace, pod)}/log", {"container": container}).decode(
                errors="replace"
            )
        except ApiError as error:
            # 400: "container … in pod … is waiting to start".
            if error.is_absence or error.status == 400:
                return None
            raise

    def _client(self) -> ApiClient:
        if self._connected is None:
            configuration = self._connect()
            # One try for each call: the reconciler's next pass is the retry, and a pass must not wait for many.
            configuration.retries = False
            self._connected = ApiClient(configuration)
        return self._connected

    def _json(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: object = None,
        content_type: str = "application/json",
    ) -> Object:
        answer: Object = json.loads(self._send(method, path, query, body, content_type) or b"{}")
        return answer

    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: object = None,
        content_type: str = "application/json",
    ) -> bytes:
        headers = {"Accept": "application/json, */*", "Content-Type": content_type}
        # The client sends lists and dictionaries as JSON by themselves; an apply's body it takes as text only.
        content = json.dumps(body) if content_type == _APPLIES else body
        client = self._client()
        try:
            request = client.param_serialize(
                method, path, {}, list((query or {}).items()), headers, content, auth_settings=["BearerToken"]
            )
            answer = client.call_api(*request, _request_timeout=(_CONNECT_SECONDS, _READ_SECONDS))
            text: bytes = answer.read() or b""
        except (urllib3.exceptions.HTTPError, ApiException, OSError) as error:
            server = client.configuration.host
            raise TemporaryError(f"the Kubernetes API at {server} does not answer: {error}") from error
        if answer.status >= 400:
            raise refusal(answer.status, text, f"{method} {path}")
        return text


@contextmanager
def _explained(what: str, remedy: str) -> Iterator[None]:
    try:
        yield
    except (ConfigException, OSError) as error:
        raise TemporaryError(f"{what}: {error}; {remedy}") from error
