"""What the simulated market adds to the count of workers."""

from datetime import UTC, datetime, timedelta

from platform_app.domain.explain import Source
from platform_app.domain.supply import GroupCount
from platform_app.local.orders import Orders
from platform_app.local.spot import Limit, Market, Node, NodeState
from platform_app.local.stock import MarketCluster, with_stock
from tests.fakes import FakeCluster

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)


def node(number: int, state: NodeState, group: str = "gpu-spot") -> Node:
    return Node(name=f"{group}-{number}", group=group, state=state, since=NOW + timedelta(seconds=number))


def test_a_group_at_its_limit_is_out_of_stock_since_the_first_that_waits():
    market = Market(limits={"gpu-spot": Limit(alive=1)}, nodes=(node(1, NodeState.RUNNING), node(2, NodeState.PENDING)))
    count = with_stock({"gpu-spot": GroupCount(1, 1)}, market)["gpu-spot"]
    (sign,) = count.troubles
    assert (sign.source, sign.reason, sign.about) == (Source.WORKERS, "OutOfStock", "gpu-spot")
    assert count.since == sign.at == NOW + timedelta(seconds=2)


def test_a_group_below_its_limit_has_no_trouble():
    market = Market(limits={"gpu-spot": Limit(alive=2)}, nodes=(node(1, NodeState.STARTING),))
    count = with_stock({}, market)["gpu-spot"]
    assert count.troubles == ()
    assert count.since == NOW + timedelta(seconds=1)


def test_without_a_market_yet_the_count_is_rays(tmp_path):
    cluster = FakeCluster()
    cluster.counts = {"cpu": GroupCount(1, 0)}
    assert MarketCluster(cluster, tmp_path).workers() == cluster.counts
    Orders(tmp_path).publish(Market(limits={"cpu": Limit(alive=0)}))
    assert MarketCluster(cluster, tmp_path).workers()["cpu"].troubles
