"""Conditions in an object's status."""

from typing import Any

from tests.kube.standin.api.objects import now


def set_condition(conditions: list[dict[str, Any]], kind: str, true: bool, reason: str, message: str = "") -> None:
    """Set one condition of a list, in place; its transition time changes with its status alone."""
    status = "True" if true else "False"
    known = next((one for one in conditions if one["type"] == kind), None)
    if known is None:
        known = {"type": kind}
        conditions.append(known)
    if known.get("status") != status:
        known["lastTransitionTime"] = now()
    known.update(status=status, reason=reason, message=message)
