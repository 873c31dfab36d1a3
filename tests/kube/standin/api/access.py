"""Who calls, and what they may do: bearer tokens, client certificates, and the Roles and Bindings in the store."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.kube.standin.api.errors import ApiError, forbidden
from tests.kube.standin.api.objects import Api

MASTERS = "system:masters"
"""The group that may do everything."""

_SERVICE_ACCOUNT = re.compile(r"^system:serviceaccount:(?P<namespace>[^:]+):(?P<name>[^:]+)$")


@dataclass(frozen=True)
class User:
    """A caller."""

    name: str
    groups: frozenset[str] = frozenset()

    @classmethod
    def of(cls, name: str, groups: Iterable[str] = ()) -> "User":
        """Make a caller with the groups that every caller, and every service account, is in."""
        implied = {"system:authenticated"}
        if account := _SERVICE_ACCOUNT.match(name):
            implied |= {"system:serviceaccounts", f"system:serviceaccounts:{account['namespace']}"}
        return cls(name, frozenset({*groups, *implied}))


@dataclass(frozen=True)
class Wish:
    """What a caller wants to do."""

    verb: str
    group: str
    resource: str
    """Plural, with its subresource: `pods`, `pods/log`."""
    namespace: str | None
    name: str = ""


class Access:
    """Answers by Kubernetes' RBAC."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def check(self, user: User, wish: Wish) -> None:
        """Do nothing when the wish is allowed. Raises ApiError 403 with Kubernetes' message."""
        if not self.allows(user, wish):
            raise denied(user, wish)

    def allows(self, user: User, wish: Wish) -> bool:
        """Say whether any role of the caller allows it."""
        return MASTERS in user.groups or any(_allows(rule, wish) for rule in self._rules(user, wish.namespace))

    def _rules(self, user: User, namespace: str | None) -> Iterator[Mapping[str, Any]]:
        group = "rbac.authorization.k8s.io"
        for binding in self._api.store.all(f"clusterrolebindings.{group}"):
            if _binds(binding, user):
                yield from self._role(binding["roleRef"], None)
        if namespace:
            for binding in self._api.store.all(f"rolebindings.{group}", namespace):
                if _binds(binding, user):
                    yield from self._role(binding["roleRef"], namespace)

    def _role(self, reference: Mapping[str, str], namespace: str | None) -> Iterable[Mapping[str, Any]]:
        plural = "clusterroles" if reference["kind"] == "ClusterRole" else "roles"
        where = None if plural == "clusterroles" else namespace
        role = self._api.store.find(self._api.kinds.named(plural), where, reference["name"])
        return (role or {}).get("rules") or ()


def denied(user: User, wish: Wish) -> ApiError:
    """Make the refusal of a caller."""
    resource = wish.resource.partition("/")[0]
    full = f"{resource}.{wish.group}" if wish.group else resource
    scope = f'in the namespace "{wish.namespace}"' if wish.namespace else "at the cluster scope"
    why = f'User "{user.name}" cannot {wish.verb} resource "{wish.resource}" in API group "{wish.group}" {scope}'
    return forbidden(full, wish.name, why)


def _binds(binding: Mapping[str, Any], user: User) -> bool:
    for subject in binding.get("subjects") or ():
        match subject["kind"]:
            case "User" if subject["name"] == user.name:
                return True
            case "Group" if subject["name"] in user.groups:
                return True
            case "ServiceAccount":
                namespace = subject.get("namespace") or binding["metadata"].get("namespace")
                if user.name == f"system:serviceaccount:{namespace}:{subject['name']}":
                    return True
    return False


def _allows(rule: Mapping[str, Any], wish: Wish) -> bool:
    resource, _, subresource = wish.resource.partition("/")
    meant = {wish.resource, "*"} | ({f"*/{subresource}", f"{resource}/*"} if subresource else set())
    names = rule.get("resourceNames") or ()
    return (
        bool({wish.verb, "*"} & set(rule.get("verbs") or ()))
        and bool({wish.group, "*"} & set(rule.get("apiGroups") or ()))
        and bool(meant & set(rule.get("resources") or ()))
        and (not names or wish.name in names)
    )
