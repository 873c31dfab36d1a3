"""The market's functions and `slipway local`, with the rules in the place of the autoscaler's process."""

import json
import socket
import threading
from datetime import UTC, datetime, timedelta

import pytest
from typer.testing import CliRunner

from platform_app.cli.local import app
from platform_app.cli.main import exit_code
from platform_app.errors import InvalidRequest, NotFound, TemporaryError
from platform_app.local import market
from platform_app.local.autoscaler import autoscaling_config
from platform_app.local.components import autoscaling_file
from platform_app.local.orders import Orders
from platform_app.local.replay import Trace, replay
from platform_app.local.spot import Limit, Market, Node, NodeState
from platform_app.local.state import ClusterState, Ports
from platform_app.specs import load_catalog

START = datetime(2026, 1, 1, tzinfo=UTC)


def node(number, state=NodeState.RUNNING, group="gpu-spot"):
    runs = state is not NodeState.PENDING
    since = START + timedelta(seconds=number)
    return Node(name=f"{group}-{number}", group=group, state=state, since=since, raylet_pid=2**30 if runs else None)


class Provider(threading.Thread):
    """Takes up limits and gives notices, as the real one does; nothing ever dies."""

    def __init__(self, folder, *nodes):
        super().__init__(daemon=True)
        self.orders = Orders(folder)
        self.nodes = {node.name: node for node in nodes}
        self.limits = []
        self.over = threading.Event()

    def run(self):
        while not self.over.wait(0.005):
            self.settle()

    def settle(self):
        for name, seconds in self.orders.notices().items():
            kill_at = datetime.now(UTC) + timedelta(seconds=seconds)
            self.nodes[name] = self.nodes[name].model_copy(update={"state": NodeState.DRAINING, "kill_at": kill_at})
            self.orders.notice_given(name)
        limits = self.orders.limits()
        if not self.limits or limits != self.limits[-1]:
            self.limits.append(limits)
        self.orders.publish(Market(limits=limits, nodes=tuple(self.nodes.values())))


class Here(ClusterState):
    """A cluster whose temporary folder is in its home."""

    @property
    def temp_dir(self):
        return self.home / "tmp"


@pytest.fixture
def state(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as gcs:
        state = Here(
            cluster_id="abc",
            home=tmp_path,
            started_at=START,
            ports=Ports(gcs=gcs.getsockname()[1]),
            api_token="api secret",
            ray_token="ray secret",
            ready=True,
        )
        state.temp_dir.mkdir()
        config = autoscaling_config(load_catalog(), state.ray_address, state.market_dir)
        autoscaling_file(state).write_text(json.dumps(config))
        yield state


@pytest.fixture
def provider(state):
    provider = Provider(state.market_dir, node(1), node(2), node(3, NodeState.PENDING))
    provider.settle()
    provider.start()
    yield provider
    provider.over.set()
    provider.join()


def test_a_notice_comes_back_with_the_time_of_the_kill(state, provider):
    told = market.reclaim(state, "gpu-spot-1", 20)
    assert told.state is NodeState.DRAINING
    assert 15 < (told.kill_at - datetime.now(UTC)).total_seconds() <= 20


@pytest.mark.parametrize("act", [market.reclaim, market.kill])
def test_a_node_that_is_not_there_is_answered_with_the_nearest(state, provider, act):
    with pytest.raises(NotFound, match=r"no node 'gpu-spot1'.*gpu-spot-1"):
        act(state, "gpu-spot1")


@pytest.mark.parametrize("act", [market.reclaim, market.kill])
def test_a_pending_node_cannot_be_taken_away(state, provider, act):
    with pytest.raises(InvalidRequest, match="gpu-spot-3 is pending"):
        act(state, "gpu-spot-3")


def test_killing_what_is_dead_already_is_the_same_as_killing_it(state, provider):
    assert market.kill(state, "gpu-spot-1").name == "gpu-spot-1"


def test_stock_is_limited_and_given_back(state, provider):
    limit = Limit(alive=1, notice_seconds=5)
    assert market.stock(state, "gpu-spot", 1, notice_seconds=5).limits == {"gpu-spot": limit}
    assert market.stock(state, "gpu-spot", None).limits == {}
    assert market.stock(state, "gpu-spot", None).limits == {}


def test_a_group_that_is_not_there_is_answered_with_the_nearest(state, provider):
    with pytest.raises(NotFound, match=r"no worker group 'gpu-sopt'.*gpu-spot"):
        market.stock(state, "gpu-sopt", 0)
    assert provider.orders.limits() == {}


@pytest.mark.parametrize("number", [-1, float("nan"), float("inf")])
def test_numbers_that_make_no_sense_are_refused(state, provider, number):
    with pytest.raises(InvalidRequest, match="notice_seconds: must be 0 or more"):
        market.reclaim(state, "gpu-spot-1", number)
    with pytest.raises(InvalidRequest, match="notice_seconds: must be 0 or more"):
        market.stock(state, "gpu-spot", 0, notice_seconds=number)


def test_a_cluster_that_does_not_answer_is_said_so(state):
    with pytest.raises(TemporaryError, match="does not answer"):
        market.nodes(state)


def test_a_replay_goes_through_the_changes_in_their_time_and_ends_in_stock(state, provider):
    waits = []
    trace = Trace.model_validate({"metadata": {"gap_seconds": 600}, "data": [2, 2, 1, 3]})
    changes = replay(state, "gpu-spot", trace, speed=60, notice_seconds=1, wait=waits.append)
    assert [change.alive for change in changes] == [2, 1, 3]
    # Each wait is until the next change's own moment, so that no delay adds up.
    assert waits == pytest.approx([20, 30, 40], abs=2)
    assert [{name: one.alive for name, one in limits.items()} for limits in provider.limits] == [
        {},
        {"gpu-spot": 2},
        {"gpu-spot": 1},
        {"gpu-spot": 3},
        {},
    ]


def test_a_replay_that_is_cut_off_restocks(state, provider):
    trace = Trace.model_validate({"metadata": {"gap_seconds": 600}, "data": [2, 0]})
    changes = replay(state, "gpu-spot", trace, speed=60, wait=lambda seconds: None)
    next(changes)
    changes.close()
    assert market.market(state).limits == {}


def test_without_a_cluster_every_command_says_how_to_start_one(tmp_path):
    (tmp_path / "trace.json").write_text('{"metadata": {"gap_seconds": 1}, "data": [1]}')
    for words in (
        ["nodes"],
        ["reclaim"],
        ["kill"],
        ["stockout", "gpu-spot"],
        ["restock", "gpu-spot"],
        ["replay", str(tmp_path / "trace.json")],
    ):
        error = CliRunner().invoke(app, [*words, "--home", str(tmp_path)]).exception
        assert isinstance(error, TemporaryError)
        assert "Start it with: slipway up" in str(error)
        assert exit_code(error) == 5
