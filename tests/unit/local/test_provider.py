"""Simulated workers as Ray's autoscaler sees them, under a market; the node itself is a stand-in here."""

import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from ray.autoscaler.tags import NODE_KIND_HEAD, TAG_RAY_NODE_KIND, TAG_RAY_USER_NODE_TYPE

from platform_app.local.orders import Orders
from platform_app.local.provider import SimulatedNodeProvider
from platform_app.local.spot import Limit, NodeState

START = datetime(2026, 1, 1, tzinfo=UTC)
TAGS = {TAG_RAY_NODE_KIND: "worker", TAG_RAY_USER_NODE_TYPE: "gpu-spot", "ray-launch-request": "42"}


class Raylet:
    """A raylet's process: alive until it is told otherwise."""

    pid = 2**30

    def __init__(self):
        self.code = None

    def poll(self):
        return self.code


class StandIn:
    """Ray's handle of a node."""

    def __init__(self, raylet=None):
        self.node_id = "ab12"
        self.raylet = raylet or Raylet()
        self.all_processes = {"raylet": [SimpleNamespace(process=self.raylet)]}

    def kill_all_processes(self, **_options):
        self.raylet.code = -9


class Provider(SimulatedNodeProvider):
    """The provider with stand-ins for nodes."""

    def __init__(self, folder):
        config = {"gcs_address": "127.0.0.1:6379", "market_dir": str(folder)}
        super().__init__(config, "slipway", watch=False, clock=lambda: self.now)
        self.now = START
        self.nodes = {}
        self.drained = []
        self.ray_answers = True
        self.process = lambda: None
        self.while_starting = lambda name: None

    def _start(self, name, group, resources, labels):
        self.while_starting(name)
        self.nodes[name] = StandIn(self.process())
        return self.nodes[name]

    def _drain(self, ray_node_id, kill_at):
        self.drained.append(kill_at)
        return self.ray_answers

    def settled(self):
        for name in self.settle():
            self.start_waiting(name)
        self.settle()
        return {node.name: node.state for node in self._orders.market().nodes}

    def launch(self, count=1):
        self.create_node_with_resources_and_labels({}, TAGS, count, {"CPU": 4}, {})


@pytest.fixture
def provider(tmp_path):
    return Provider(tmp_path / "market")


@pytest.fixture
def orders(tmp_path):
    return Orders(tmp_path / "market")


def workers(provider):
    return provider.non_terminated_nodes({TAG_RAY_NODE_KIND: "worker"})


def test_the_head_is_always_there(provider):
    assert provider.non_terminated_nodes({}) == ["head"]
    assert provider.is_running("head")
    assert not provider.is_terminated("head")
    assert provider.node_tags("head")[TAG_RAY_NODE_KIND] == NODE_KIND_HEAD


def test_a_head_that_was_slow_to_come_is_given_up_and_found_anew(provider):
    provider.terminate_node("head")
    assert provider.non_terminated_nodes({}) == []
    assert provider.non_terminated_nodes({}) == ["head"]


def test_workers_are_named_after_their_group_and_keep_their_tags(provider):
    provider.launch(2)
    assert workers(provider) == ["gpu-spot-1", "gpu-spot-2"]
    assert provider.node_tags("gpu-spot-2") == TAGS
    assert provider.is_running("gpu-spot-1")


def test_a_worker_is_listed_before_it_runs(provider):
    seen = []
    provider.while_starting = lambda name: seen.append((workers(provider), provider.is_running(name)))
    provider.launch()
    assert seen == [(["gpu-spot-1"], False)]


def test_a_worker_whose_raylet_died_is_gone(provider):
    provider.launch(2)
    provider.nodes["gpu-spot-1"].raylet.code = -9
    assert provider.is_terminated("gpu-spot-1")
    assert workers(provider) == ["gpu-spot-2"]


def test_ending_a_worker_twice_is_the_same_as_once(provider):
    provider.launch()
    provider.terminate_node("gpu-spot-1")
    provider.terminate_node("gpu-spot-1")
    assert provider.nodes["gpu-spot-1"].raylet.code == -9
    assert workers(provider) == []
    assert provider.node_tags("gpu-spot-1") == {}


def test_a_worker_that_is_ended_while_it_starts_does_not_live_on(provider):
    provider.while_starting = provider.terminate_node
    provider.launch()
    assert provider.nodes["gpu-spot-1"].raylet.code == -9
    assert workers(provider) == []


def test_a_worker_that_does_not_start_holds_up_no_other(provider, caplog):
    def first_fails(name):
        if name == "gpu-spot-1":
            raise RuntimeError("no memory")

    provider.while_starting = first_fails
    provider.launch(2)
    assert workers(provider) == ["gpu-spot-2"]
    assert "gpu-spot-1 did not start" in caplog.text


def test_workers_that_start_at_one_time_have_different_names(provider):
    threads = [threading.Thread(target=provider.launch, args=(3,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(workers(provider))) == 12


def test_out_of_stock_workers_exist_and_do_not_run_until_there_is_stock(provider, orders):
    provider.launch()
    orders.limit("gpu-spot", Limit(alive=0, keep=True))
    provider.launch(2)
    assert workers(provider) == ["gpu-spot-1", "gpu-spot-2", "gpu-spot-3"]
    assert [provider.is_running(name) for name in workers(provider)] == [True, False, False]
    pending, running = NodeState.PENDING, NodeState.RUNNING
    assert provider.settled() == {"gpu-spot-1": running, "gpu-spot-2": pending, "gpu-spot-3": pending}
    orders.limit("gpu-spot", Limit(alive=2))
    assert provider.settled() == {"gpu-spot-1": running, "gpu-spot-2": running, "gpu-spot-3": pending}
    orders.limit("gpu-spot", None)
    assert set(provider.settled().values()) == {running}


def test_a_pending_worker_that_the_autoscaler_gives_up_never_starts(provider, orders):
    orders.limit("gpu-spot", Limit(alive=0))
    provider.launch()
    provider.terminate_node("gpu-spot-1")
    orders.limit("gpu-spot", None)
    assert provider.settled() == {}
    assert provider.nodes == {}


def test_of_a_group_that_shrinks_the_oldest_gets_its_notice_and_one_more_may_come_for_it(provider, orders):
    provider.launch()
    provider.now += timedelta(seconds=5)
    provider.launch()
    orders.limit("gpu-spot", Limit(alive=1, notice_seconds=20))
    assert provider.settled() == {"gpu-spot-1": NodeState.DRAINING, "gpu-spot-2": NodeState.RUNNING}
    assert provider.drained == [provider.now + timedelta(seconds=20)]
    orders.limit("gpu-spot", Limit(alive=2, notice_seconds=20))
    provider.launch()
    assert provider.settled()["gpu-spot-3"] is NodeState.RUNNING
    assert len(provider.drained) == 1


def test_a_second_notice_changes_nothing(provider, orders):
    provider.launch()
    for seconds in (20, 5):
        orders.give_notice("gpu-spot-1", seconds)
        provider.settled()
    assert orders.market().node("gpu-spot-1").kill_at == START + timedelta(seconds=20)
    assert len(provider.drained) == 1
    assert orders.notices() == {}


def test_a_notice_that_ray_did_not_take_is_given_again(provider, orders):
    provider.launch()
    provider.ray_answers = False
    orders.give_notice("gpu-spot-1", 20)
    assert provider.settled() == {"gpu-spot-1": NodeState.RUNNING}
    provider.ray_answers = True
    assert provider.settled() == {"gpu-spot-1": NodeState.DRAINING}


def test_a_notice_for_a_node_that_is_gone_is_forgotten(provider, orders):
    orders.give_notice("gpu-spot-9", 20)
    provider.settled()
    assert (orders.notices(), provider.drained) == ({}, [])


@pytest.mark.parametrize("notice", [0, 20])
def test_at_the_end_of_its_notice_the_raylet_is_killed_and_not_before(provider, orders, notice):
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    provider.process = lambda: sleeper
    try:
        provider.launch()
        orders.give_notice("gpu-spot-1", notice)
        provider.settle()
        provider.now += timedelta(seconds=notice - 0.1)
        provider.settle()
        assert sleeper.poll() is None
        provider.now += timedelta(seconds=0.1)
        provider.settle()
        assert sleeper.wait(10) == -9
        assert provider.settled() == {}
        assert len(provider.drained) == (1 if notice else 0)
    finally:
        sleeper.kill()


def test_other_groups_are_in_stock(provider, orders):
    orders.limit("gpu-ondemand", Limit(alive=0))
    provider.launch()
    assert provider.settled() == {"gpu-spot-1": NodeState.RUNNING}
