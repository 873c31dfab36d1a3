"""The local cluster with real processes: MLflow, Ray and its autoscaler. The control plane is a stand-in."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import psutil
import pytest

from platform_app.local import market
from platform_app.local.cluster import LocalCluster
from platform_app.local.components import health
from platform_app.local.processes import MARK, members
from platform_app.local.start import StartFailed
from platform_app.local.state import cluster_id, read_state, temp_dir
from tests.stand_in import CONTROL_PLANE

pytestmark = pytest.mark.ray

CATALOG = """
worker_groups:
  - {name: gpu-spot, market: spot, accelerator_type: A10G, cpus: 2, gpus: 1, memory_gib: 1, max_workers: 2,
     idle_timeout_seconds: 2, price_per_hour: 0.36, priority: 10}
tiers: [{name: development, priority: 100}]
"""

DRIVER = """
import json, os, time
import psutil, ray
from ray.autoscaler.v2.sdk import get_cluster_status

def workers():
    status = get_cluster_status(ray.get_runtime_context().gcs_address)
    return [node for node in status.active_nodes + status.idle_nodes if node.ray_node_type_name == "gpu-spot"]

def until(count):
    deadline = time.monotonic() + 40
    while len(workers()) != count:
        assert time.monotonic() < deadline, (count, workers())
        time.sleep(0.1)

@ray.remote(num_gpus=1, label_selector={"ray.io/market-type": "spot"}, accelerator_type="A10G")
def seen():
    print("one line from the worker")
    names = ["SLIPWAY_CLUSTER_ID", "MLFLOW_TRACKING_URI", "SLIPWAY_STORAGE", "CUDA_VISIBLE_DEVICES"]
    return {name: os.environ.get(name) for name in names}

ray.init(os.environ["ADDRESS"])
story = {"before": len(workers())}
begun = time.monotonic()
story["seen"] = ray.get(seen.remote())
story["scale_up_seconds"] = time.monotonic() - begun
story["during"] = len(workers())
begun = time.monotonic()
until(0)
story["idle_seconds"] = time.monotonic() - begun

# A worker that dies is replaced while it is needed.
task = seen.options(max_retries=3).remote()
until(1)
ray.get(task)
(first,) = workers()
for process in psutil.process_iter(["cmdline"]):
    if f"--node_id={first.node_id}" in (process.info["cmdline"] or []):
        process.kill()
begun = time.monotonic()
story["after_death"] = ray.get(seen.remote())["MLFLOW_TRACKING_URI"]
story["replacement_seconds"] = time.monotonic() - begun
story["replaced"] = first.instance_id not in {node.instance_id for node in workers()}
open(os.environ["STORY"], "w").write(json.dumps(story))
"""


@pytest.fixture
def start_cluster(tmp_path_factory):
    """Make clusters with homes of their own; end them whatever the test does."""
    made = []

    def make():
        home = tmp_path_factory.mktemp("home")
        (home / "catalog.yaml").write_text(CATALOG)
        made.append(LocalCluster(home, control_plane=CONTROL_PLANE, timeout_seconds=200))
        return made[-1]

    yield make
    for cluster in made:
        cluster.down()


def up(cluster):
    return cluster.up(catalog=cluster.home / "catalog.yaml")


def assert_nothing_is_left(home, name):
    left = list(members(name))
    # Looked for in another way too: by what the command lines of Ray's and MLflow's processes hold.
    for process in psutil.process_iter(["cmdline", "environ"]):
        words = " ".join(process.info["cmdline"] or [])
        if str(temp_dir(name)) in words or f"{home}/" in words or (process.info["environ"] or {}).get(MARK) == name:
            left.append(process)
    assert left == []
    assert not temp_dir(name).exists()
    assert read_state(home) is None


def test_two_clusters_live_side_by_side_and_leave_nothing(start_cluster):
    one, other = start_cluster(), start_cluster()
    with ThreadPoolExecutor() as both:
        (first, started), (second, _) = both.map(up, (one, other))
    assert started
    assert set(first.ports.model_dump().values()).isdisjoint(second.ports.model_dump().values())
    assert all(health(first).values())
    assert all(health(second).values())
    assert up(one) == (first, False)
    assert httpx.get(f"{first.dashboard_url}/api/cluster_status", trust_env=False).status_code == 401

    story = drive(second)
    assert (story["before"], story["during"]) == (0, 1)
    assert story["seen"] == {
        "SLIPWAY_CLUSTER_ID": second.cluster_id,
        "MLFLOW_TRACKING_URI": second.tracking_uri,
        "SLIPWAY_STORAGE": str(second.storage),
        "CUDA_VISIBLE_DEVICES": "0",
    }
    assert story["after_death"] == second.tracking_uri
    assert story["replaced"]

    everyone = members(second.cluster_id)
    begun = time.monotonic()
    assert other.down()
    assert time.monotonic() - begun < 10
    assert_nothing_is_left(other.home, second.cluster_id)
    assert not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in everyone)
    assert not other.down()
    assert all(health(first).values()), "the other cluster is none the worse for it"
    assert one.down()
    assert_nothing_is_left(one.home, first.cluster_id)


def processes(cluster, title):
    found = []
    for process in members(cluster.state.cluster_id):
        with contextlib.suppress(psutil.NoSuchProcess):
            if title in " ".join(process.cmdline()):
                found.append(process)
    return found


def kill(cluster, title):
    for process in processes(cluster, title):
        process.kill()


def is_back(cluster, what):
    return f"started {what} again" in cluster.state.keeper_note.read_text() and all(health(cluster.state).values())


@pytest.mark.timeout(600)
def test_what_dies_comes_back_as_it_was_and_what_is_slow_is_left_alone(start_cluster):
    cluster = start_cluster()
    state, _ = up(cluster)
    (gcs,) = processes(cluster, "gcs_server")
    gcs.suspend()
    time.sleep(4)
    gcs.resume()
    until(lambda: all(health(state).values()))
    assert state.keeper_note.read_text() == "watches"

    kill(cluster, "uvicorn")
    until(lambda: is_back(cluster, "MLflow"))
    assert processes(cluster, "gcs_server") == [gcs], "only what was gone was started"

    market.stock(state, "gpu-spot", 0)
    kill(cluster, "monitor.py")
    until(lambda: is_back(cluster, "Ray"))
    until(lambda: market.market(state).limits.keys() == {"gpu-spot"})
    assert cluster.state == state
    assert (state.logs / "ray-session" / "gcs_server.out").exists()

    kill(cluster, "local.keeper")
    assert up(cluster) == (state, False)
    assert processes(cluster, "local.keeper"), "an `up` gives the cluster a keeper"
    kill(cluster, "raylet/raylet")
    until(lambda: "is gone" in state.keeper_note.read_text())
    until(lambda: processes(cluster, "gcs_server"))
    assert cluster.down(), "in the middle of a start"
    time.sleep(2)
    assert_nothing_is_left(cluster.home, state.cluster_id)


def drive(state):
    """Run the driver against a cluster, as a person would from a shell; its story. No line is told twice."""
    environment = {
        **os.environ,
        **state.shell_environment(),
        "ADDRESS": state.ray_address,
        "STORY": str(state.home / "story.json"),
        "RAY_DEDUP_LOGS": "0",
    }
    command = [sys.executable, "-c", DRIVER]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.count("one line from the worker") == 3, ended.stdout
    return json.loads((state.home / "story.json").read_text())


def test_a_start_that_fails_leaves_only_its_logs(start_cluster):
    cluster = start_cluster()
    (cluster.home / "mlflow").mkdir()
    (cluster.home / "mlflow" / "mlflow.db").write_text("no database " * 100)
    # Ray is in the middle of its own start then.
    with pytest.raises(StartFailed, match=r"MLflow ended with exit code 1(.|\n)*file is not a database"):
        up(cluster)
    assert (cluster.home / "logs" / "mlflow.log").exists()
    assert (cluster.home / "logs" / "ray-session" / "gcs_server.out").exists()
    assert_nothing_is_left(cluster.home, cluster_id(cluster.home))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_up_that_is_cut_off_leaves_nothing_after_down(start_cluster, number):
    cluster = start_cluster()
    # What runs in the background of a shell ignores SIGINT, and so would this.
    code = """
import pathlib, signal, sys
from platform_app.local.cluster import LocalCluster
signal.signal(signal.SIGINT, signal.default_int_handler)
LocalCluster(pathlib.Path(sys.argv[1])).up()
"""
    command = [sys.executable, "-c", code, str(cluster.home)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
    name = cluster_id(cluster.home)
    until(lambda: any("gcs_server" in " ".join(one.cmdline()) for one in members(name)))
    process.send_signal(number)
    process.wait(30)
    if number == signal.SIGKILL:
        assert members(name), "only `down` is left to end them"
        assert cluster.down()
    assert_nothing_is_left(cluster.home, name)


def until(condition, seconds=150):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)
