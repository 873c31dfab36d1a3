"""Simulated workers as Ray's autoscaler sees them; the node itself is a stand-in here."""

import threading
from types import SimpleNamespace

import pytest
from ray.autoscaler.tags import NODE_KIND_HEAD, TAG_RAY_NODE_KIND, TAG_RAY_USER_NODE_TYPE

from platform_app.local.provider import SimulatedNodeProvider

TAGS = {TAG_RAY_NODE_KIND: "worker", TAG_RAY_USER_NODE_TYPE: "gpu-spot", "ray-launch-request": "42"}


class Raylet:
    """A raylet's process: alive until it is told otherwise."""

    def __init__(self):
        self.code = None

    def poll(self):
        return self.code


class StandIn:
    """Ray's handle of a node."""

    def __init__(self):
        self.raylet = Raylet()
        self.all_processes = {"raylet": [SimpleNamespace(process=self.raylet)]}

    def kill_all_processes(self, **_options):
        self.raylet.code = -9


class Provider(SimulatedNodeProvider):
    """The provider with stand-ins for nodes."""

    def __init__(self):
        super().__init__({"gcs_address": "127.0.0.1:6379"}, "slipway")
        self.nodes = {}
        self.while_starting = lambda name: None

    def _start(self, name, group, resources, labels):
        self.while_starting(name)
        self.nodes[name] = StandIn()
        return self.nodes[name]

    def launch(self, count=1):
        self.create_node_with_resources_and_labels({}, TAGS, count, {"CPU": 4}, {})


@pytest.fixture
def provider():
    return Provider()


def workers(provider):
    return provider.non_terminated_nodes({TAG_RAY_NODE_KIND: "worker"})


def test_the_head_is_always_there(provider):
    assert provider.non_terminated_nodes({}) == ["head"]
    assert provider.is_running("head")
    assert not provider.is_terminated("head")
    assert provider.node_tags("head")[TAG_RAY_NODE_KIND] == NODE_KIND_HEAD


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
