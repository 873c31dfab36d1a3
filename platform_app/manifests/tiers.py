"""Tiers of the catalog as PriorityClasses."""

from typing import Any

from platform_app.manifests.names import PLATFORM_CLASS, labels
from platform_app.specs import Catalog

_PLATFORM_PRIORITY = 1_000_000


def priority_classes(catalog: Catalog) -> list[dict[str, Any]]:
    """Render a class for each tier, and one above all for the platform's own services.

    Only the highest tier preempts. Preemption comes before a node is added, so a training would kill a notebook
    though the autoscaler could give it a machine of its own; among jobs, the platform's admission makes room, and
    lets them write a checkpoint first.
    """
    highest = max(catalog.tiers, key=lambda tier: tier.priority)
    tiers = [
        _priority_class(tier.name, tier.priority, preempts=tier == highest, description=f"Work of tier {tier.name}.")
        for tier in sorted(catalog.tiers, key=lambda tier: -tier.priority)
    ]
    # A pod without a class has priority 0, below every tier: MLflow would make room for a notebook.
    text = "Slipway's own services: Ray heads, MLflow, databases, and the operators and monitoring that it stands on."
    return [_priority_class(PLATFORM_CLASS, _PLATFORM_PRIORITY, preempts=True, description=text), *tiers]


def _priority_class(name: str, value: int, preempts: bool, description: str) -> dict[str, Any]:
    return {
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": name, "labels": labels("slipway", "priority")},
        "value": value,
        "globalDefault": False,
        "preemptionPolicy": "PreemptLowerPriority" if preempts else "Never",
        "description": description,
    }
