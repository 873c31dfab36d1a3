"""Training that is interrupted, with and without notice: what it costs, and that nothing of it shows in the model."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest
import torch
from ray._raylet import GcsClient
from ray.core.generated import autoscaler_pb2

from jobs.pulse import read_pulse
from jobs.state import read_state
from platform_app.specs import AttemptStatus
from tests.integration.test_jobs_on_plain_ray import PlainRay, free_port, run_of

pytestmark = [pytest.mark.ray, pytest.mark.timeout(400)]

SPEC = {
    "name": "digits",
    "workload": "tests.integration.slow_digits:make",
    "epochs": 6,
    "batch_size": 128,
    "max_failures": 0,
    "objective": {"metric": "accuracy", "mode": "max"},
    "checkpointing": {"every_epochs": 100, "every_steps": 10},
    "resources": {"num_workers": 2, "gpus_per_worker": 1},
}
TOTAL_STEPS = 6 * 12


class Nodes(PlainRay):
    """A cluster whose head has no GPU, with worker nodes of one GPU each."""

    num_gpus = 0

    def __init__(self, folder):
        super().__init__(folder)
        self._nodes = {}

    def add_node(self, name):
        """Start a worker node; it is there when workers can run on it."""
        log = (self.folder / f"{name}.log").open("wb")
        ports = {"dashboard-agent-listen-port": free_port(), "min-worker-port": 0, "max-worker-port": 0}
        options = {"address": self.environment["RAY_ADDRESS"], "num-cpus": 2, "num-gpus": 1, "labels": f"name={name}"}
        memory = {"object-store-memory": 100_000_000, "node-ip-address": "127.0.0.1"}
        words = [f"--{option}={value}" for option, value in (options | ports | memory).items()]
        ray = str(Path(sys.executable).with_name("ray"))
        environment = {name: value for name, value in self.environment.items() if name != "RAY_ADDRESS"}
        self._nodes[name] = subprocess.Popen(
            [ray, "start", "--block", *words], env=environment, stdout=log, stderr=log, start_new_session=True
        )
        self.wait_for(lambda: self.node_id(name), f"node {name}", 90)

    def node_id(self, name):
        """Give Ray's id of a live node."""
        nodes = GcsClient(address=self.environment["RAY_ADDRESS"]).get_all_node_info()
        alive = (node for node in nodes.values() if node.state == 0 and node.labels.get("name") == name)
        return next((node.node_id.hex() for node in alive), None)

    def drain(self, name):
        """Give notice: the node will be taken away in half a minute."""
        accepted, why = GcsClient(address=self.environment["RAY_ADDRESS"]).drain_node(
            self.node_id(name), autoscaler_pb2.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION"), "reclaimed", 2**42
        )
        assert accepted, why

    def kill_node(self, name):
        """Take a node away with everything on it."""
        with contextlib.suppress(ProcessLookupError):  # a node that was drained has left
            os.killpg(self._nodes.pop(name).pid, signal.SIGKILL)

    def training_workers(self):
        """List the processes that train, each with the id of its node."""
        found = []
        for process in psutil.process_iter(["cmdline"]):
            with contextlib.suppress(psutil.Error):
                if process.info["cmdline"] and "RayTrainWorker" in process.info["cmdline"][0]:
                    raylet = process.parent().cmdline()
                    if any(str(self.folder) in word for word in raylet):
                        found += [(process, word.partition("=")[2]) for word in raylet if word.startswith("--node_id=")]
        return found

    def step(self, job_id):
        """Give the last step that is known of a run."""
        pulse = read_pulse(self.storage / job_id)
        return pulse.step if pulse else 0

    def wait_for_step(self, job_id, step):
        self.wait_for(lambda: self.step(job_id) >= step, f"step {step} of {job_id}", 90)

    def weights(self, job_id):
        """Give the weights that a run ended with."""
        newest = max((self.storage / job_id / "checkpoints").glob("step-*"))
        assert newest.name == f"step-{TOTAL_STEPS:08d}"
        return read_state(newest)["model"]

    def close(self):
        for name in list(self._nodes):
            self.kill_node(name)
        super().close()


@pytest.fixture(scope="module")
def nodes():
    # Ray's sockets have room for short paths only.
    folder = Path(tempfile.mkdtemp(prefix="sw-", dir="/tmp"))
    cluster = Nodes(folder)
    try:
        for name in ("a", "b", "c"):
            cluster.add_node(name)
        yield cluster
    finally:
        cluster.close()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def uninterrupted(nodes):
    """The weights of a run that nothing happened to."""
    assert nodes.run("jobs.train", SPEC, "calm") == 0, nodes.log_path("calm").read_text()
    assert nodes.report("calm").interruptions == ()
    return nodes.weights("calm")


def equal(weights, others):
    return all(torch.equal(weights[name], others[name]) for name in weights)


def finish(nodes, process, job_id, attempt=1):
    assert process.wait(180) == 0, nodes.log_path(job_id, attempt).read_text()
    report = nodes.report(job_id, attempt)
    assert report.status is AttemptStatus.SUCCEEDED
    assert report.progress.done == report.progress.total == TOTAL_STEPS
    return report.interruptions


def test_a_killed_worker_and_a_killed_driver_cost_one_interval_at_most_and_do_not_show(nodes, uninterrupted):
    first = nodes.start("jobs.train", SPEC, "killed")
    nodes.wait_for_step("killed", 25)
    nodes.training_workers()[0][0].kill()
    nodes.wait_for(lambda: nodes.report("killed").interruptions, "the next step", 120)
    [interruption] = nodes.report("killed").interruptions
    assert interruption.cause == "worker-lost"
    # One interval, and what was done while the last checkpoint was being written.
    assert interruption.steps_lost <= 12
    nodes.wait_for_step("killed", 45)
    first.kill()
    second = nodes.start("jobs.train", SPEC, "killed", attempt=2)
    [interruption] = finish(nodes, second, "killed", attempt=2)
    assert interruption.cause == "driver-lost"
    assert interruption.steps_lost <= 12
    assert equal(nodes.weights("killed"), uninterrupted)
    assert run_of(nodes, "killed").info.status == "FINISHED"


def test_notice_costs_no_step_and_does_not_show(nodes, uninterrupted):
    process = nodes.start("jobs.train", SPEC, "noticed")
    nodes.wait_for_step("noticed", 15)
    used = {node_id for _, node_id in nodes.training_workers()}
    name = next(name for name in "abc" if nodes.node_id(name) in used)
    nodes.drain(name)
    [interruption] = finish(nodes, process, "noticed")
    assert (interruption.cause, interruption.steps_lost, interruption.num_workers) == ("notice", 0, 2)
    assert equal(nodes.weights("noticed"), uninterrupted)
