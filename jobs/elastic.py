"""How many workers an elastic run takes: what the platform grants, or else what the cluster has free."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import ray
from ray._private import state

from jobs.notice import is_draining
from jobs.placement import bundle, labels
from platform_app.specs import Grant, WorkerResources


@dataclass(frozen=True)
class Node:
    """A node of the cluster, as far as it matters to who looks for room."""

    free: Mapping[str, float]
    labels: Mapping[str, str]


def room(nodes: Iterable[Node], each: Mapping[str, float], wanted_labels: Mapping[str, str]) -> int:
    """Count the workers that fit into what is free.

    Args:
        nodes: that take work.
        each: resources of one worker; at least one is more than 0.
        wanted_labels: of the nodes that will do.
    """
    # Ray counts resources in ten thousandths.
    units = {name: round(amount * 10_000) for name, amount in each.items() if amount}
    will_do = (node for node in nodes if wanted_labels.items() <= node.labels.items())
    return sum(
        min(round(node.free.get(name, 0) * 10_000) // amount for name, amount in units.items()) for node in will_do
    )


def size(resources: WorkerResources, can_have: int, granted: int | None) -> int:
    """Choose how many workers to run on: the platform's word if it has spoken, and never fewer than `min`."""
    return min(max(can_have if granted is None else granted, resources.min_workers), resources.max_workers)


def free_room(resources: WorkerResources) -> int:
    """Count the workers that the cluster has room for now."""
    free = state.available_resources_per_node()
    nodes = [
        Node(free.get(node["NodeID"], {}), node["Labels"])
        for node in ray.nodes()
        if node["Alive"] and not is_draining(node["NodeID"])
    ]
    return room(nodes, bundle(resources), labels(resources))


def read_grant(path: Path) -> int | None:
    """Read how many workers the platform grants; None when it has not spoken."""
    try:
        return Grant.model_validate_json(path.read_bytes()).num_workers
    except (OSError, ValueError):
        return None
