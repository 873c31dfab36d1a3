"""The simulated spot market of a running cluster, for `slipway local` and for drills.

Each function returns when the cluster has taken up what was asked, and raises:
    NotFound: there is no such group or node; the message has the nearest one.
    InvalidRequest: the number makes no sense.
    TemporaryError: the cluster, or its autoscaler, does not answer.
"""

import json
import time
from collections.abc import Callable

import psutil

from platform_app.domain.validation import nearest
from platform_app.errors import FieldProblem, InvalidRequest, NotFound, TemporaryError
from platform_app.local.autoscaler import HEAD
from platform_app.local.components import autoscaling_file
from platform_app.local.network import accepts
from platform_app.local.orders import Orders
from platform_app.local.processes import MARK, kill_tree
from platform_app.local.spot import Limit, Market, Node, NodeState
from platform_app.local.state import ClusterState
from platform_app.specs import Market as MarketType

_ANSWER_SECONDS = 30.0
"""A node that is just starting gets its notice only once it runs."""


def market(state: ClusterState) -> Market:
    """Show the nodes that there are, and the limits of groups that are not fully in stock."""
    if accepts(state.ports.gcs) and (found := Orders(state.market_dir).market()):
        return found
    raise TemporaryError(f"the cluster of {state.home} does not answer. Look at it with `slipway status`.")


def nodes(state: ClusterState) -> tuple[Node, ...]:
    """List the worker nodes, pending ones too; those that ended are not listed."""
    return market(state).nodes


def groups(state: ClusterState) -> dict[str, str]:
    """Give the running cluster's worker groups in the catalog's order, each with its `ray.io/market-type`."""
    try:
        types = json.loads(autoscaling_file(state).read_text())["available_node_types"]
    except FileNotFoundError:
        raise TemporaryError(f"the cluster of {state.home} is gone. Start it with `slipway up`.") from None
    return {name: kind["labels"]["ray.io/market-type"] for name, kind in types.items() if name != HEAD}


def check_group(state: ClusterState, group: str) -> str:
    """Give the group back when there is such a one."""
    if group not in (known := groups(state)):
        raise NotFound(f"there is no worker group {group!r}{nearest(group, known)}")
    return group


def spot_group(state: ClusterState) -> str:
    """Give the first spot group of the catalog."""
    known = groups(state)
    if found := next((name for name, kind in known.items() if kind == MarketType.SPOT), None):
        return found
    raise NotFound(f"the catalog has no spot group; name one of {', '.join(known)} with --group.")


def reclaim(state: ClusterState, name: str, notice_seconds: float = 30.0) -> Node:
    """Take a node back as a cloud takes a spot node: with a notice, and killed at its end.

    Ray drains the node with reason PREEMPTION and a deadline a little before the kill. A node that has its notice
    keeps it: the second call changes nothing.

    Args:
        state: the cluster.
        name: the node.
        notice_seconds: time until the kill; 0 for none.

    Returns:
        The node with `kill_at`; as it was before if it is gone already, which an idle node is soon.
    """
    _check("notice_seconds", notice_seconds)
    last = _running(state, name)
    Orders(state.market_dir).give_notice(name, notice_seconds)

    def taken(now: Market) -> bool:
        nonlocal last
        found = now.node(name)
        last = found or last
        return found is None or found.state is NodeState.DRAINING

    _until(state, taken, f"the notice for {name}")
    return last


def kill(state: ClusterState, name: str) -> Node:
    """Kill a node without notice: SIGKILL for its raylet and all that the raylet started. The node as it was."""
    node = _running(state, name)
    assert node.raylet_pid is not None
    try:
        raylet = psutil.Process(node.raylet_pid)
        # The number may belong to another process by now.
        if raylet.environ().get(MARK) == state.cluster_id:
            kill_tree(raylet)
    except psutil.NoSuchProcess:
        pass
    return node


def stock(
    state: ClusterState, group: str, alive: int | None, *, notice_seconds: float = 30.0, keep: bool = False
) -> Market:
    """Say how many nodes of a group there can be from now on; those above are reclaimed, the longest running first.

    Args:
        state: the cluster.
        group: the worker group.
        alive: nodes that may live at one time; None for as many as the catalog allows.
        notice_seconds: time from the notice to the kill; 0 for none.
        keep: leave what runs alone, however much it is; only new nodes must wait.

    Returns:
        What there is once the limit is known to the cluster and notices are given.
    """
    check_group(state, group)
    _check("notice_seconds", notice_seconds)
    _check("alive", alive or 0)
    limit = None if alive is None else Limit(alive=alive, keep=keep, notice_seconds=notice_seconds)
    Orders(state.market_dir).limit(group, limit)
    return _until(state, lambda now: now.limits.get(group) == limit, f"the stock of {group}")


def _running(state: ClusterState, name: str) -> Node:
    there = market(state)
    node = there.node(name)
    if node is None:
        raise NotFound(f"there is no node {name!r}{nearest(name, (known.name for known in there.nodes))}")
    if node.raylet_pid is None:
        raise InvalidRequest(FieldProblem("node", f"{name} is {node.state}; only what runs can be taken away"))
    return node


def _check(field: str, amount: float) -> None:
    if not 0 <= amount < float("inf"):
        raise InvalidRequest(FieldProblem(field, f"must be 0 or more and finite, not {amount:g}"))


def _until(state: ClusterState, done: Callable[[Market], bool], what: str) -> Market:
    deadline = time.monotonic() + _ANSWER_SECONDS
    while not done(now := market(state)):
        if time.monotonic() > deadline:
            message = f"the autoscaler did not take up {what} within {_ANSWER_SECONDS:g} seconds; its log is "
            raise TemporaryError(f"{message}{state.temp_dir}/session_latest/logs/monitor.log.")
        time.sleep(0.05)
    return now
