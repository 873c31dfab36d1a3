"""Which pods may stand on which nodes, and which objects a selector means: Kubernetes' own rules."""

from collections.abc import Iterable, Mapping
from typing import Any

from platform_app.domain.doctor.snapshot import Object, labels_of

_PASSING = (
    "node.kubernetes.io/",
    "node.cloudprovider.kubernetes.io/",
    "karpenter.sh/disrupted",
    "karpenter.sh/unregistered",
    "ToBeDeletedByClusterAutoscaler",
    "DeletionCandidateOfClusterAutoscaler",
)
"""Taints that come and go with a node's condition: a DaemonSet's pods tolerate most, and no one else should."""


def lasting(taints: Iterable[Object] | None) -> list[Object]:
    """Keep the taints that hold a pod off a node for good."""
    return [
        taint
        for taint in taints or ()
        if taint.get("effect") in ("NoSchedule", "NoExecute") and not taint["key"].startswith(_PASSING)
    ]


def untolerated(pod: Object, taints: Iterable[Object] | None) -> list[Object]:
    """Give the lasting taints that a pod does not tolerate."""
    return [t for t in lasting(taints) if not any(_tolerates(one, t) for one in pod.get("tolerations") or ())]


def _tolerates(toleration: Object, taint: Object) -> bool:
    if toleration.get("effect") not in (None, "", taint["effect"]):
        return False
    key = toleration.get("key")
    if toleration.get("operator") == "Exists":
        return key in (None, "", taint["key"])
    return (key, toleration.get("value", "")) == (taint["key"], taint.get("value", ""))


def stands_on(pod: Object, node: Object) -> bool:
    """Tell whether a pod's selectors and tolerations let it stand on a node, room or no room."""
    labels = labels_of(node)
    if untolerated(pod, node.get("spec", {}).get("taints")):
        return False
    if any(labels.get(key) != value for key, value in (pod.get("nodeSelector") or {}).items()):
        return False
    terms = required_terms(pod)
    return not terms or any(_meets(term.get("matchExpressions") or (), labels) for term in terms)


def required_terms(pod: Object) -> list[Object]:
    """Give the terms of a pod's node affinity, of which one must hold."""
    affinity = (pod.get("affinity") or {}).get("nodeAffinity") or {}
    terms = (affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}).get("nodeSelectorTerms")
    return list(terms or ())


def selects(selector: Object | None, labels: Mapping[str, str]) -> bool:
    """Tell whether a label selector means an object with some labels; an empty one means every object."""
    selector = selector or {}
    exact = (selector.get("matchLabels") or {}).items()
    return all(labels.get(key) == value for key, value in exact) and _meets(
        selector.get("matchExpressions") or (), labels
    )


def _meets(expressions: Iterable[Mapping[str, Any]], labels: Mapping[str, str]) -> bool:
    for one in expressions:
        value, values = labels.get(one["key"]), list(one.get("values") or ())
        match one["operator"]:
            case "In":
                met = value in values
            case "NotIn":
                met = value not in values
            case "Exists":
                met = value is not None
            case "DoesNotExist":
                met = value is None
            case "Gt":
                met = _number(value) > _number(values[0])
            case _:
                met = _number(value) < _number(values[0])
        if not met:
            return False
    return True


def _number(text: str | None) -> float:
    """Read a label as the number that `Gt` and `Lt` compare; of what is none, neither holds."""
    return int(text) if text is not None and text.isdecimal() else float("nan")
