"""The rules of the simulated spot market: which nodes must go, and which may come. Values in, values out."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field


class NodeState(StrEnum):
    """What a simulated node is at."""

    PENDING = "pending"
    """Asked for while its group is out of stock: what an unschedulable pod is on a cluster."""
    STARTING = "starting"
    RUNNING = "running"
    DRAINING = "draining"
    """It has its notice: Ray places nothing new on it, and it is killed at `Node.kill_at`."""


class Node(BaseModel):
    """One worker node as the provider sees it."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    name: str
    """Ray's node name, and the autoscaler's instance id."""
    group: str
    state: NodeState
    since: datetime
    """When the autoscaler asked for it."""
    raylet_pid: int | None = None
    """The process whose death is the node's; None until it runs."""
    ray_node_id: str | None = None
    """Ray's own id, in hexadecimal; None until it runs."""
    kill_at: datetime | None = None
    """When its processes are killed, if it has its notice."""


class Limit(BaseModel):
    """How much of a group is to be had. A group without one is always in stock."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    alive: int = Field(ge=0)
    """Nodes that may live at one time; those with a notice do not count."""
    keep: bool = False
    """What runs stays, even when it is more; only new nodes must wait."""
    notice_seconds: float = Field(ge=0, default=30.0)
    """Time from the notice to the kill for nodes that must go; 0 kills without notice."""


class Market(BaseModel):
    """All that there is at one moment."""

    model_config = ConfigDict(frozen=True)

    limits: Mapping[str, Limit] = {}
    nodes: tuple[Node, ...] = ()

    def of(self, group: str) -> tuple[Node, ...]:
        """Give the nodes of one group."""
        return tuple(node for node in self.nodes if node.group == group)

    def node(self, name: str) -> Node | None:
        """Give a node by its name; None when it is gone."""
        return next((node for node in self.nodes if node.name == name), None)


def first_to_go(nodes: Iterable[Node]) -> tuple[Node, ...]:
    """Order the nodes that can be taken: the longest running first, for their loss costs most; starting ones last."""
    alive = [node for node in nodes if node.state in (NodeState.RUNNING, NodeState.STARTING)]
    return tuple(sorted(alive, key=lambda node: (node.state is NodeState.STARTING, node.since, node.name)))


def surplus(nodes: Iterable[Node], limit: Limit | None) -> tuple[Node, ...]:
    """Say which nodes of one group must go so that the limit holds."""
    if limit is None or limit.keep:
        return ()
    candidates = first_to_go(nodes)
    return candidates[: max(0, len(candidates) - limit.alive)]


def startable(nodes: Iterable[Node], limit: Limit | None) -> tuple[Node, ...]:
    """Say which pending nodes of one group may start now: longest wait first, while the limit has room."""
    known = tuple(nodes)
    waiting = sorted((node for node in known if node.state is NodeState.PENDING), key=lambda n: (n.since, n.name))
    if limit is None:
        return tuple(waiting)
    return tuple(waiting[: max(0, limit.alive - len(first_to_go(known)))])
