"""Ray clusters that know nothing of the platform: a node or several, and drivers that are started on them."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from mlflow import MlflowClient
from ray._raylet import GcsClient
from ray.core.generated import autoscaler_pb2

from jobs.pulse import read_pulse
from jobs.state import read_state
from platform_app.specs import AttemptReport, report_path

ROOT = Path(__file__).parents[1]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class PlainRay:
    """One Ray node with the GPUs that it claims, and drivers that are started on it."""

    num_gpus = 2

    def __init__(self, folder: Path):
        self.folder = folder
        self.storage = folder / "storage"
        self.tracking_uri = f"sqlite:///{folder}/mlflow.db"
        port = free_port()
        self.environment = os.environ | {
            "RAY_ADDRESS": f"127.0.0.1:{port}",
            "RAY_AUTH_MODE": "disabled",
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
            "MLFLOW_TRACKING_URI": self.tracking_uri,
            "SLIPWAY_STORAGE": str(self.storage),
            "PYTHONUNBUFFERED": "1",
        }
        options = {
            "node-ip-address": "127.0.0.1",
            "port": port,
            "num-cpus": 6,
            "num-gpus": self.num_gpus,
            "labels": "ray.io/market-type=spot",
            "temp-dir": folder,
            "dashboard-port": free_port(),
            "dashboard-agent-listen-port": free_port(),
            "ray-client-server-port": free_port(),
            "min-worker-port": 0,
            "max-worker-port": 0,
            "object-store-memory": 200_000_000,
        }
        command = ["ray", "start", "--head", "--block", *(f"--{name}={value}" for name, value in options.items())]
        environment = {name: value for name, value in self.environment.items() if name != "RAY_ADDRESS"}
        self._log = (folder / "head.log").open("wb")
        ray = str(Path(sys.executable).with_name(command[0]))
        self._head = subprocess.Popen(
            [ray, *command[1:]], env=environment, stdout=self._log, stderr=self._log, start_new_session=True
        )
        self.wait_for(lambda: b"Ray runtime started" in (folder / "head.log").read_bytes(), "the Ray head", 60)

    def start(self, program, spec, job_id, attempt=1):
        """Start a driver and give its process; its output is in `{job id}-{attempt}.log`."""
        environment = self.environment | {"SLIPWAY_JOB_ID": job_id, "SLIPWAY_ATTEMPT": str(attempt)}
        command = [sys.executable, "-m", program, "--spec", spec if isinstance(spec, str) else json.dumps(spec)]
        with self.log_path(job_id, attempt).open("wb") as log:
            return subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=ROOT)

    def run(self, program, spec, job_id, attempt=1):
        """Run a driver to its end and give its exit code."""
        process = self.start(program, spec, job_id, attempt)
        try:
            return process.wait(120)
        finally:
            process.kill()

    def log_path(self, job_id, attempt=1):
        return self.folder / f"{job_id}-{attempt}.log"

    def report(self, job_id, attempt=1):
        return AttemptReport.model_validate_json(Path(report_path(str(self.storage), job_id, attempt)).read_bytes())

    def mlflow(self):
        return MlflowClient(self.tracking_uri)

    def wait_for(self, condition, what, seconds):
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"{what} did not come within {seconds} s"
            time.sleep(0.2)

    def close(self):
        self._head.terminate()
        try:
            self._head.wait(20)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._head.pid, signal.SIGKILL)
            self._log.close()


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

    def weights(self, job_id, total_steps):
        """Give the weights that a run ended with."""
        newest = max((self.storage / job_id / "checkpoints").glob("step-*"))
        assert newest.name == f"step-{total_steps:08d}"
        return read_state(newest)["model"]

    def close(self):
        for name in list(self._nodes):
            self.kill_node(name)
        super().close()


@contextmanager
def opened(kind: type[PlainRay], *nodes: str) -> Iterator[PlainRay]:
    """Open a cluster with further nodes, and end it, whatever happens."""
    # Ray's sockets have room for short paths only.
    folder = Path(tempfile.mkdtemp(prefix="sw-", dir="/tmp"))
    cluster = kind(folder)
    try:
        for name in nodes:
            cluster.add_node(name)
        yield cluster
    finally:
        cluster.close()
        shutil.rmtree(folder, ignore_errors=True)


def run_of(node, job_id):
    client = node.mlflow()
    experiment = client.get_experiment_by_name("slipway").experiment_id
    found = client.search_runs([experiment], f"tags.`slipway.job_id` = '{job_id}'")
    assert len(found) == 1
    return found[0]
