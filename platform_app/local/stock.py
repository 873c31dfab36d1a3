"""The port `Cluster` on one machine: Ray's own count of the workers, with what the simulated market says of them."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from platform_app.domain.explain import Sign, Source
from platform_app.domain.supply import NONE, GroupCount
from platform_app.local.orders import Orders
from platform_app.local.spot import Market, NodeState
from platform_app.ports import Cluster


class MarketCluster:
    """Workers of a cluster whose nodes are bought in the simulated market.

    Args:
        cluster: Ray's count of them.
        folder: the market's.
    """

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self._cluster = cluster
        self._orders = Orders(folder)

    def workers(self) -> Mapping[str, GroupCount]:
        """Count the workers of each group, and say which groups are out of stock and since when workers are awaited."""
        counts = self._cluster.workers()
        market = self._orders.market()
        return with_stock(counts, market) if market else counts


def with_stock(counts: Mapping[str, GroupCount], market: Market) -> dict[str, GroupCount]:
    """Add to the count of each group what the market says of it."""
    found = dict(counts)
    for group in {node.group for node in market.nodes} | market.limits.keys():
        nodes = market.of(group)
        awaited = [node.since for node in nodes if node.state in (NodeState.PENDING, NodeState.STARTING)]
        limit, alive = market.limits.get(group), sum(node.state is NodeState.RUNNING for node in nodes)
        count = found.get(group, NONE)
        troubles = count.troubles
        if limit and alive >= limit.alive:
            told = f"the market gives {limit.alive} of it"
            troubles = (*troubles, Sign(Source.WORKERS, "OutOfStock", told, group, min(awaited, default=None)))
        found[group] = replace(count, since=min(awaited, default=count.since), troubles=troubles)
    return found
