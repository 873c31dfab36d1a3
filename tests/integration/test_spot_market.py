"""The simulated spot market on a real local cluster: notices, kills, stock-outs and a trace."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from platform_app.errors import InvalidRequest, NotFound, TemporaryError
from platform_app.local import market
from platform_app.local.cluster import LocalCluster
from platform_app.local.spot import NodeState
from tests.stand_in import CONTROL_PLANE

pytestmark = pytest.mark.ray

WAIT, RETRY = 12, 10
"""Seconds: of the catalog, for spot to come, and until spot is preferred again."""

CATALOG = f"""
worker_groups:
  - {{name: gpu-spot, market: spot, accelerator_type: A10G, cpus: 2, gpus: 1, memory_gib: 1, max_workers: 3,
     idle_timeout_seconds: 2, price_per_hour: 0.36, priority: 10}}
  - {{name: gpu-ondemand, market: on-demand, accelerator_type: A10G, cpus: 2, gpus: 1, memory_gib: 1, max_workers: 2,
     idle_timeout_seconds: 2, price_per_hour: 1.01, priority: 1}}
spot_wait_seconds: {WAIT}
spot_retry_seconds: {RETRY}
tiers: [{{name: development, priority: 100}}]
"""

DRIVER = """
import json, os, sys
import ray
from ray.core.generated.common_pb2 import NodeDeathInfo
from ray.util import placement_group, remove_placement_group

# Ray prints where it likes.
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)

ray.init(os.environ["ADDRESS"], log_to_driver=False)
held = {}
for line in sys.stdin:
    verb, name, *rest = json.loads(line)
    if verb == "hold":
        # A GPU of any market, or of one.
        labels = {"ray.io/market-type": rest[0]} if rest[0] else {}
        held[name] = placement_group([{"GPU": 1}], bundle_label_selector=[labels] if labels else None)
        answer = None
    elif verb == "release":
        answer = remove_placement_group(held.pop(name))
    elif verb == "placed":
        table = ray.util.placement_group_table(held[name])
        answer = table["bundles_to_node_id"][0] if table["state"] == "CREATED" else None
    else:
        (node,) = [node for node in ray.nodes() if node["NodeID"] == name]
        answer = None if node["Alive"] else NodeDeathInfo.Reason.Name(node["DeathReason"])
    print(json.dumps(answer), file=answers, flush=True)
"""


class Driver:
    """A driver that holds GPUs as it is told."""

    def __init__(self, state):
        environment = {**os.environ, **state.shell_environment(), "ADDRESS": state.ray_address}
        self._log = state.logs / "driver.log"
        self._process = subprocess.Popen(
            [sys.executable, "-c", DRIVER],
            env=environment,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log.open("w"),
        )
        self._state = state

    def ask(self, *words):
        self._process.stdin.write(json.dumps(words) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, self._log.read_text()
        return json.loads(answer)

    def node_of(self, name):
        """The node on which it holds its GPU; None while it has none."""
        placed = self.ask("placed", name)
        return next((node for node in market.nodes(self._state) if placed and node.ray_node_id == placed), None)

    def on(self, group, name):
        """Whether it holds its GPU on a node of a group."""
        node = self.node_of(name)
        return node is not None and node.group == group

    def death(self, node):
        """Why Ray counts a node as dead; None while it does not."""
        return self.ask("death", node.ray_node_id)

    def end(self):
        self._process.stdin.close()
        self._process.wait(30)


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    (home / "catalog.yaml").write_text(CATALOG)
    cluster = LocalCluster(home, control_plane=CONTROL_PLANE, timeout_seconds=80)
    try:
        yield cluster.up(catalog=home / "catalog.yaml")[0]
    finally:
        cluster.down()


@pytest.fixture(scope="module")
def driver(state):
    driver = Driver(state)
    yield driver
    driver.end()


def until(look, seconds=40):
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)
    return found


def tell(sentence):
    sys.stdout.write(f"{sentence}\n")


def running(state, group="gpu-spot"):
    return [node for node in market.market(state).of(group) if node.state is NodeState.RUNNING]


def slipway(state, *words):
    command = [sys.executable, "-m", "platform_app.cli.main", "local", *words, "--home", str(state.home)]
    return subprocess.run(command, text=True, capture_output=True, timeout=60)


def test_a_reclaimed_node_is_drained_as_preempted_killed_at_its_time_and_replaced(state, driver):
    driver.ask("hold", "a", None)
    until(lambda: driver.on("gpu-spot", "a"))
    node = driver.node_of("a")
    began = time.time()
    told = slipway(state, "reclaim", "--notice", "6")
    assert told.returncode == 0, told.stderr
    assert f"{node.name} has its notice and is killed in" in told.stdout
    marked = market.market(state).node(node.name)
    assert marked.state is NodeState.DRAINING
    assert market.reclaim(state, node.name, 300).kill_at == marked.kill_at, "the second notice changes nothing"
    assert driver.death(node) is None

    until(lambda: market.market(state).node(node.name) is None)
    assert time.time() >= marked.kill_at.timestamp() >= began + 6
    assert until(lambda: driver.death(node)) == "AUTOSCALER_DRAIN_PREEMPTED"
    tell(f"Ray knew of the death {time.time() - marked.kill_at.timestamp():.1f} s after the kill")
    until(lambda: driver.on("gpu-spot", "a"))
    driver.ask("release", "a")


def test_a_node_killed_without_notice_dies_with_its_children_and_is_replaced(state, driver):
    driver.ask("hold", "b", "spot")
    node = until(lambda: driver.node_of("b"))
    children = psutil.Process(node.raylet_pid).children(recursive=True)
    assert children
    told = slipway(state, "kill", "--node", node.name)
    began = time.monotonic()
    assert told.returncode == 0, told.stderr
    assert psutil.wait_procs(children, timeout=5)[1] == []
    assert until(lambda: driver.death(node)) == "UNEXPECTED_TERMINATION"
    assert until(lambda: driver.node_of("b")).name != node.name
    tell(f"replaced {time.monotonic() - began:.1f} s after the kill")
    driver.ask("release", "b")
    until(lambda: not market.nodes(state))


def test_out_of_stock_spot_gives_way_to_on_demand_and_is_preferred_again_later(state, driver):
    told = slipway(state, "stockout", "gpu-spot")
    assert told.stdout.startswith("gpu-spot: out of stock; what runs stays"), told.stderr
    driver.ask("hold", "only-spot", "spot")
    driver.ask("hold", "any", None)
    began = time.monotonic()
    until(lambda: any(node.state is NodeState.PENDING for node in market.nodes(state)))
    assert "pending" in slipway(state, "nodes").stdout
    until(lambda: driver.on("gpu-ondemand", "any"), WAIT + 30)
    tell(f"on-demand held {time.monotonic() - began:.1f} s after the demand; the wait for spot is {WAIT} s")
    assert driver.node_of("only-spot") is None, "market: spot waits"
    assert running(state) == []
    driver.ask("release", "only-spot")
    driver.ask("release", "any")
    # A pending worker that starts would show at once that spot is there; without one, only time brings it back.
    until(lambda: not market.nodes(state), WAIT + 30)
    assert slipway(state, "restock", "gpu-spot").returncode == 0
    time.sleep(RETRY)
    driver.ask("hold", "later", None)
    driver.ask("hold", "firm", "on-demand")
    until(lambda: driver.on("gpu-spot", "later"))
    until(lambda: driver.on("gpu-ondemand", "firm"))
    driver.ask("release", "later")
    driver.ask("release", "firm")


def test_a_replay_holds_the_number_of_the_trace_and_restocks_when_it_is_cut_off(state, driver, tmp_path):
    for name in "xyz":
        driver.ask("hold", name, "spot")
    until(lambda: len(running(state)) == 3)
    (tmp_path / "trace.json").write_text(json.dumps({"metadata": {"gap_seconds": 3600}, "data": [3, 1, 1, *[2] * 50]}))
    words = ["replay", str(tmp_path / "trace.json"), "--speed", "900", "--notice", "2", "--home", str(state.home)]
    command = [sys.executable, "-m", "platform_app.cli.main", "local", *words]
    with subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as replaying:
        for alive in (3, 1, 2):
            until(lambda alive=alive: [one.alive for one in market.market(state).limits.values()] == [alive])
            until(lambda alive=alive: len(running(state)) == alive)
        replaying.send_signal(signal.SIGINT)
        said = replaying.communicate(timeout=20)[1]
    assert replaying.returncode == 130
    assert "Ended after 3 of 3 changes" in said
    assert market.market(state).limits == {}
    until(lambda: len(running(state)) == 3)
    for name in "xyz":
        driver.ask("release", name)


def test_what_is_not_there_is_named_with_what_is(state, tmp_path):
    with pytest.raises(NotFound, match="gpu-spot"):
        market.stock(state, "gpu-spto", 1)
    with pytest.raises(NotFound, match="no node 'gpu-spot-99'"):
        market.kill(state, "gpu-spot-99")
    with pytest.raises(InvalidRequest, match="alive"):
        market.stock(state, "gpu-spot", -1)
    assert slipway(state, "stockout", "gpu-sopt").returncode == 3
    missing = slipway(state, "replay", str(Path(tmp_path) / "none.json"))
    assert missing.returncode == 2
    assert "No such file" in missing.stderr
    with pytest.raises(TemporaryError, match="slipway status"):
        market.nodes(state.model_copy(update={"ports": state.ports.model_copy(update={"gcs": 1})}))
