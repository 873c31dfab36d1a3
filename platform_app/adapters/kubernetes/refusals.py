"""What the API server refuses, told to a person: which verb on what, and what to do."""

import json
import re

from platform_app.errors import TemporaryError

_NOT_SERVED = ("the server could not find the requested resource", "404 page not found")
_RBAC = re.compile(
    r'User "(?P<user>[^"]+)" cannot (?P<verb>\w+) resource "(?P<resource>[^"]+)" in API group "(?P<group>[^"]*)"'
    r'( in the namespace "(?P<namespace>[^"]+)")?'
)


class ApiError(TemporaryError):
    """The API server refused. What is wrong is the cluster's until a caller knows better: the next pass tries again."""

    def __init__(self, status: int, reason: str, told: str, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.reason = reason
        """One word, as Kubernetes writes it: `Forbidden`, `AlreadyExists`."""
        self.told = told
        """The server's own message."""

    @property
    def is_absence(self) -> bool:
        """True where the object asked for is not there, although its kind is."""
        return self.status == 404 and not self.is_not_served

    @property
    def is_not_served(self) -> bool:
        """True where the cluster knows no such kind of objects at this version."""
        return self.status == 404 and self.told.strip().rstrip(".") in _NOT_SERVED


def refusal(status: int, body: bytes, call: str) -> ApiError:
    """Read the answer of a call that was refused."""
    reason, told = "", body.decode(errors="replace")[:2000]
    try:
        answer = json.loads(body)
        reason, told = str(answer.get("reason", "")), str(answer.get("message", ""))
    except (ValueError, AttributeError):
        pass  # A proxy before the API server answers in words of its own.
    error = ApiError(status, reason, told, "")
    error.args = (_sentence(error, call),)
    return error


def _sentence(error: ApiError, call: str) -> str:
    if error.is_not_served:
        kind = re.sub(r"^/apis?/([^/]+/)?v\w+/(namespaces/[^/]+/)?", "", call.split(" ", 1)[1]).split("/")[0]
        return f"the cluster knows no {kind} at this version ({call}): {_remedy(call)}"
    if error.status == 401:
        return f"the Kubernetes API does not accept our credentials ({call}): renew the kubeconfig or the token"
    if permission := _RBAC.search(error.told):
        where = f" in namespace {permission['namespace']}" if permission["namespace"] else " in all namespaces"
        role = "Role" if permission["namespace"] else "ClusterRole"
        group = permission["group"] or '""'
        return (
            f"{permission['user']} may not {permission['verb']} {permission['resource']}{where}: "
            f"add verb {permission['verb']} on {permission['resource']} (apiGroup {group}) to its {role}"
        )
    if error.status == 429 or error.status >= 500:
        return f"the Kubernetes API is overloaded or broken (HTTP {error.status}, {call}): {error.told}"
    return error.told or f"the Kubernetes API refused {call} (HTTP {error.status})"


def _remedy(call: str) -> str:
    if "/ray.io/" in call:
        return "install the KubeRay operator 1.7 with its CRDs (k8s/bootstrap)"
    return "install what serves it"
