"""ResourceQuotas: what a namespace uses, and what is refused because it would use more.

As in Kubernetes, extended resources such as `nvidia.com/gpu` are limited by `requests.` names alone: a line
`limits.nvidia.com/gpu` is stored and does nothing.
"""

from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

from tests.kube.standin.api.objects import Api, Writing
from tests.kube.standin.api.quantity import Amounts, add, larger, parse, parse_all, show
from tests.kube.standin.api.store import Change

_MUST_SPECIFY = ("cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory")
_PLAIN = ("cpu", "memory", "ephemeral-storage")
_COUNTED_BY_NAME = ("pods", "services", "secrets", "configmaps", "persistentvolumeclaims", "resourcequotas")


class Quotas:
    """Refuses what a namespace has no quota left for."""

    def admit(self, api: Api, writing: Writing) -> None:
        """See `Admission`."""
        if writing.verb != "create" or not writing.kind.namespaced:
            return
        requested = usage(writing.kind.resource, writing.obj)
        for quota in api.store.all("resourcequotas", writing.obj["metadata"]["namespace"]):
            if not _in_scope(quota, writing.kind.resource, writing.obj):
                continue
            name, hard = quota["metadata"]["name"], parse_all(quota["spec"].get("hard"))
            if writing.kind.resource == "pods" and (missing := _unspecified(writing.obj, hard)):
                raise writing.refuse(f"failed quota: {name}: must specify {missing}")
            used = used_of(api, quota)
            over = sorted(key for key in hard if requested.get(key) and used[key] + requested[key] > hard[key])
            if over:
                shown = (_list(amounts, over) for amounts in (requested, used, hard))
                raise writing.refuse("exceeded quota: {}, requested: {}, used: {}, limited: {}".format(name, *shown))


def keep_status(api: Api) -> Callable[[Change], None]:
    """Make a listener of the store that keeps the quotas' `status.used` true, as Kubernetes' controller does."""

    def follow(change: Change) -> None:
        _, _, obj = change
        kind = api.kinds.named("resourcequotas")
        for quota in api.store.all("resourcequotas", obj["metadata"].get("namespace") or "-"):
            hard = quota["spec"].get("hard") or {}
            used = {key: show(amount, key) for key, amount in used_of(api, quota).items()}
            api.set_status(kind, quota, {"hard": dict(hard), "used": used})

    return follow


def used_of(api: Api, quota: dict[str, Any]) -> Amounts:
    """Sum what the objects in a quota's namespace and scope use of what it limits."""
    hard, namespace = quota["spec"].get("hard") or {}, quota["metadata"]["namespace"]
    lists: list[Amounts] = []
    for resource in _resources(hard):
        for obj in api.store.all(resource, namespace):
            if (obj.get("status") or {}).get("phase") in ("Succeeded", "Failed") and resource == "pods":
                continue
            if _in_scope(quota, resource, obj):
                lists.append(usage(resource, obj))
    total = add(*lists)
    return {key: total.get(key, Decimal(0)) for key in hard}


def usage(resource: str, obj: dict[str, Any]) -> Amounts:
    """Say what one object uses, by the names that quotas use."""
    used: Amounts = {f"count/{resource}": Decimal(1)}
    if resource in _COUNTED_BY_NAME:
        used[resource] = Decimal(1)
    if resource == "pods":
        for name, amount in pod_amounts(obj, "requests").items():
            used[f"requests.{name}"] = amount
            if name in _PLAIN:
                used[name] = amount
        limits = pod_amounts(obj, "limits")
        used |= {f"limits.{name}": amount for name, amount in limits.items() if name in _PLAIN}
    if resource == "persistentvolumeclaims":
        storage = (((obj.get("spec") or {}).get("resources") or {}).get("requests") or {}).get("storage", 0)
        used["requests.storage"] = parse(storage)
    return used


def pod_amounts(pod: dict[str, Any], which: str) -> Amounts:
    """Sum a pod's requests or limits: its containers together, or its largest init container where that is more."""
    spec = pod["spec"]

    def of(containers: Iterable[dict[str, Any]]) -> list[Amounts]:
        return [parse_all((container.get("resources") or {}).get(which)) for container in containers]

    return larger([add(*of(spec.get("containers") or ())), *of(spec.get("initContainers") or ())])


def _resources(hard: Iterable[str]) -> set[str]:
    """Name the resources whose objects count for any of the limits."""
    counted = {name.removeprefix("count/") for name in hard if name.startswith("count/")}
    counted |= {name for name in hard if name in _COUNTED_BY_NAME}
    if "requests.storage" in hard:
        counted.add("persistentvolumeclaims")
    return counted | {"pods"}


def _unspecified(pod: dict[str, Any], hard: Iterable[str]) -> str:
    missing = []
    for name in sorted(set(hard) & set(_MUST_SPECIFY)):
        which, _, resource = name.rpartition(".")
        lacking = [
            container["name"]
            for container in (*pod["spec"].get("containers", ()), *pod["spec"].get("initContainers", ()))
            if resource not in ((container.get("resources") or {}).get(which or "requests") or {})
        ]
        if lacking:
            missing.append(f"{name} for: {','.join(sorted(lacking))}")
    return "; ".join(missing)


def _in_scope(quota: dict[str, Any], resource: str, obj: dict[str, Any]) -> bool:
    spec = quota["spec"]
    scopes = [{"scopeName": name, "operator": "Exists"} for name in spec.get("scopes") or ()]
    scopes += (spec.get("scopeSelector") or {}).get("matchExpressions") or ()
    return not scopes or (resource == "pods" and all(_matches(scope, obj["spec"]) for scope in scopes))


def _matches(scope: dict[str, Any], pod: dict[str, Any]) -> bool:
    match scope["scopeName"]:
        case "PriorityClass":
            name, values = pod.get("priorityClassName"), scope.get("values") or ()
            tests = {"In": name in values, "NotIn": name not in values, "Exists": bool(name), "DoesNotExist": not name}
            return tests[scope["operator"]]
        case "Terminating":
            return pod.get("activeDeadlineSeconds") is not None
        case "NotTerminating":
            return pod.get("activeDeadlineSeconds") is None
    return True


def _list(amounts: Amounts, names: Iterable[str]) -> str:
    return ",".join(f"{name}={show(amounts[name], name)}" for name in names)
