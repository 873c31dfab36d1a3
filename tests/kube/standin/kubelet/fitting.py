"""Whether a pod fits on a node, and what the scheduler says when it does not."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from tests.kube.standin.admission.quota import pod_amounts
from tests.kube.standin.api.quantity import Amounts, add, parse_all
from tests.kube.standin.api.selectors import satisfies

_AFFINITY = "node(s) didn't match Pod's node affinity/selector"

Object = dict[str, Any]


def misfit(pod: Object, node: Object, on_node: Iterable[Object]) -> str | None:
    """Give the scheduler's reason why a pod does not fit on a node beside those that are on it; None when it fits."""
    if node["spec"].get("unschedulable"):
        return "node(s) were unschedulable"
    if taint := next((one for one in node["spec"].get("taints") or () if not _tolerated(pod, one)), None):
        return f"node(s) had untolerated taint {{{taint['key']}: {taint.get('value', '')}}}"
    if not _selected(pod, node["metadata"].get("labels") or {}):
        return _AFFINITY
    free = parse_all(node["status"]["allocatable"])
    taken = add(*(requests(one) for one in on_node))
    wanted = requests(pod)
    lacking = sorted(name for name in wanted if wanted[name] and taken.get(name, 0) + wanted[name] > free.get(name, 0))
    if lacking:
        return (
            "Too many pods" if lacking == ["pods"] else f"Insufficient {next(one for one in lacking if one != 'pods')}"
        )
    return None


def requests(pod: Object) -> Amounts:
    """Say what a pod takes of a node."""
    return {**pod_amounts(pod, "requests"), "pods": parse_all({"pods": "1"})["pods"]}


def unschedulable(reasons: Iterable[str]) -> str:
    """Put the reasons of all nodes into the scheduler's sentence."""
    counted = Counter(reasons)
    if not counted:
        return "no nodes available to schedule pods"
    total = sum(counted.values())
    listed = ", ".join(f"{count} {reason}" for reason, count in sorted(counted.items(), key=lambda one: one[0]))
    hopeless = sum(count for reason, count in counted.items() if not reason.startswith(("Insufficient", "Too many")))
    parts = [f"{hopeless} Preemption is not helpful for scheduling"] if hopeless else []
    if total - hopeless:
        parts.append(f"{total - hopeless} No preemption victims found for incoming pod")
    return f"0/{total} nodes are available: {listed}. preemption: 0/{total} nodes are available: {', '.join(parts)}."


def _tolerated(pod: Object, taint: Mapping[str, str]) -> bool:
    if taint.get("effect") == "PreferNoSchedule":
        return True
    return any(_tolerates(one, taint) for one in pod["spec"].get("tolerations") or ())


def _tolerates(toleration: Mapping[str, str], taint: Mapping[str, str]) -> bool:
    if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
        return False
    if toleration.get("key") and toleration["key"] != taint["key"]:
        return False
    if toleration.get("operator", "Equal") == "Exists":
        return True
    return bool(toleration.get("key")) and (toleration.get("value") or "") == (taint.get("value") or "")


def _selected(pod: Object, labels: Mapping[str, str]) -> bool:
    spec = pod["spec"]
    if any(labels.get(key) != value for key, value in (spec.get("nodeSelector") or {}).items()):
        return False
    required = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution"
    )
    if not required:
        return True
    return any(
        all(satisfies(labels, expression) for expression in term.get("matchExpressions") or ())
        for term in required["nodeSelectorTerms"]
    )
