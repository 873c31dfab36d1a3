"""Drivers of sweeps on a Ray cluster of this machine, and a workload that writes down what it trains."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch.distributed as dist
from mlflow import MlflowClient
from ray import tune
from ray.cluster_utils import Cluster

from platform_app.specs import AttemptReport, report_path
from tests.drills.code.tiny import tiny

ROOT = Path(__file__).parents[1]


def make(config):
    """Give a workload whose score is its learning rate, and that raises where the config says so.

    It writes down each epoch that was trained: trial, epoch, learning rate; other workers of a trial in their own.

    Args:
        config: `lr`, `diary`, `seconds` an epoch takes, and `raises`: a file whose absence makes rank 1 raise once.
    """
    raises = Path(config.get("raises", "/"))
    if not raises.exists() and dist.get_rank() == 1:
        raises.touch()
        raise ValueError("the second worker is not well")

    def write_down(epoch, rate):
        time.sleep(config["seconds"])
        is_first = not dist.is_initialized() or dist.get_rank() == 0
        trial = tune.get_context().get_trial_id() if is_first else os.getpid()
        with open(config["diary"] if is_first else f"{config['diary']}.others", "a") as diary:
            diary.write(f"{trial} {epoch} {rate:.6f}\n")

    return tiny(config["lr"], write_down, lr=config["lr"])


class Sweeps:
    """Drivers of sweeps on a cluster that outlives them."""

    def __init__(self, folder):
        self.folder = folder
        self.storage = folder / "storage"
        self.tracking_uri = f"sqlite:///{folder}/mlflow.db"
        MlflowClient(self.tracking_uri).search_experiments()  # creates the tables, which takes a while
        self.start_cluster()

    def start_cluster(self):
        options = {"num_cpus": 4, "object_store_memory": 100_000_000, "include_dashboard": False}
        with contextlib.redirect_stdout(sys.stderr):
            self.cluster = Cluster(initialize_head=True, head_node_args=options)

    def start(self, spec, job_id, attempt=1):
        environment = os.environ | {
            "RAY_ADDRESS": self.cluster.address,
            "RAY_AUTH_MODE": "disabled",
            "RAY_USAGE_STATS_ENABLED": "0",
            "MLFLOW_TRACKING_URI": self.tracking_uri,
            "SLIPWAY_STORAGE": str(self.storage),
            "SLIPWAY_JOB_ID": job_id,
            "SLIPWAY_ATTEMPT": str(attempt),
            "PYTHONUNBUFFERED": "1",
        }
        command = [sys.executable, "-m", "jobs.sweep", "--spec", json.dumps(spec)]
        with (self.folder / f"{job_id}-{attempt}.log").open("wb") as log:
            return subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=ROOT)

    def finish(self, process, job_id, attempt=1):
        try:
            assert process.wait(300) == 0, self.log(job_id, attempt)
        finally:
            process.kill()

    def log(self, job_id, attempt):
        return (self.folder / f"{job_id}-{attempt}.log").read_text()

    def spec(self, job_id, **changes):
        fields = {
            "kind": "sweep",
            "name": "s",
            "workload": "tests.sweeping:make",
            "config": {"diary": str(self.folder / f"{job_id}.diary"), "seconds": 0.2},
            "epochs": 4,
            "batch_size": 4,
            "objective": {"metric": "score", "mode": "max"},
            "space": {"lr": {"type": "uniform", "low": 0.001, "high": 0.1}},
            "search": {"num_samples": 12, "max_concurrent": 3, "seed": 1},
            "scheduler": {"type": "fifo"},
            "resources": {"gpus_per_worker": 0},
        }
        return fields | changes

    def diary(self, job_id, suffix=""):
        """Give (trial, epoch, learning rate), as they were trained; `.others` for those of other workers."""
        path = self.folder / f"{job_id}.diary{suffix}"
        lines = path.read_text().splitlines() if path.exists() else []
        return [(trial, int(epoch), float(rate)) for trial, epoch, rate in map(str.split, lines)]

    def report(self, job_id, attempt=1):
        return AttemptReport.model_validate_json(Path(report_path(str(self.storage), job_id, attempt)).read_bytes())

    def ended(self, job_id, attempt):
        """Give how many trials the driver has told to have ended."""
        with contextlib.suppress(FileNotFoundError):
            progress = self.report(job_id, attempt).progress
            return progress.done if progress else 0
        return 0

    def wait_for_ended(self, number, process, job_id, attempt):
        there = lambda: self.ended(job_id, attempt) >= number or process.poll() is not None  # noqa: E731
        self.wait_for(there, f"the end of {number} trials")
        assert self.ended(job_id, attempt) >= number, self.log(job_id, attempt)

    def children(self, job_id):
        client = MlflowClient(self.tracking_uri)
        experiment = client.get_experiment_by_name("slipway").experiment_id
        [parent] = client.search_runs([experiment], f"tags.`slipway.job_id` = '{job_id}'")
        return client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")

    def history(self, run, metric):
        points = MlflowClient(self.tracking_uri).get_metric_history(run.info.run_id, metric)
        return [(point.step, point.value) for point in points]

    def wait_for(self, condition, what, seconds=240):
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"{what} did not come within {seconds} s"
            time.sleep(0.05)


@contextmanager
def sweeps_on_ray() -> Iterator[Sweeps]:
    """Give a cluster for sweeps, in a folder of its own."""
    os.environ["RAY_AUTH_MODE"] = "disabled"
    folder = Path(tempfile.mkdtemp(prefix="sw-", dir="/tmp"))
    running = Sweeps(folder)
    try:
        yield running
    finally:
        running.cluster.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


def kill(process):
    process.send_signal(signal.SIGKILL)
    process.wait()
