"""Sweeps whose driver is killed, and the head with it, on a Ray cluster of this machine."""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient
from ray import tune
from ray.cluster_utils import Cluster
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import TensorDataset

from jobs.workload import Workload
from platform_app.specs import AttemptReport, AttemptStatus, report_path

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]

ROOT = Path(__file__).parents[2]


class Diary(LRScheduler):
    """Writes down each epoch that was trained: trial, epoch, learning rate."""

    def __init__(self, optimizer, path, seconds):
        self.path, self.seconds = path, seconds
        super().__init__(optimizer)

    def get_lr(self):
        return [group["lr"] for group in self.optimizer.param_groups]

    def step(self):
        super().step()
        if self.last_epoch:
            time.sleep(self.seconds)
            [rate] = self.get_last_lr()
            with open(self.path, "a") as diary:
                diary.write(f"{tune.get_context().get_trial_id()} {self.last_epoch} {rate:.6f}\n")


def make(config):
    model = torch.nn.Linear(1, 1)
    with torch.no_grad():
        model.weight.fill_(config["lr"])
    data = TensorDataset(torch.ones(4, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=config["lr"])
    return Workload(
        model=model,
        train_dataset=data,
        eval_dataset=data,
        optimizer=optimizer,
        loss=lambda model, batch: model(batch[0]).pow(2).mean(),
        evaluate=lambda model, batch: {"score": config["lr"]},
        example_input=torch.zeros(1, 1),
        lr_scheduler=Diary(optimizer, config["diary"], config["seconds"]),
    )


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
            assert process.wait(120) == 0, self.log(job_id, attempt)
        finally:
            process.kill()

    def log(self, job_id, attempt):
        return (self.folder / f"{job_id}-{attempt}.log").read_text()

    def spec(self, job_id, **changes):
        fields = {
            "kind": "sweep",
            "name": "s",
            "workload": "tests.integration.test_sweeps_survive:make",
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

    def diary(self, job_id):
        """Give (trial, epoch, learning rate), as they were trained."""
        path = self.folder / f"{job_id}.diary"
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

    def wait_for(self, condition, what, seconds=90):
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"{what} did not come within {seconds} s"
            time.sleep(0.05)


@pytest.fixture(scope="module")
def sweeps():
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


def test_a_sweep_whose_driver_is_killed_and_then_the_head_too_runs_no_finished_trial_again(sweeps):
    spec, chance = sweeps.spec("killed", registered_model="swept"), random.Random()
    told, trained = [], []
    for attempt, wanted in ((1, 3), (2, 7)):
        process = sweeps.start(spec, "killed", attempt)
        sweeps.wait_for_ended(wanted, process, "killed", attempt)
        time.sleep(chance.uniform(0, 0.5))
        kill(process)
        told.append(sweeps.ended("killed", attempt))
        trained.append(Counter((trial, epoch) for trial, epoch, _ in sweeps.diary("killed")))
    sweeps.cluster.shutdown()
    sweeps.start_cluster()
    process = sweeps.start(spec, "killed", 3)
    sweeps.wait_for_ended(1, process, "killed", 3)
    assert sweeps.ended("killed", 3) >= told[1] >= told[0]
    sweeps.finish(process, "killed", 3)

    epochs = Counter((trial, epoch) for trial, epoch, _ in sweeps.diary("killed"))
    trials = {trial for trial, _ in epochs}
    assert len(trials) == 12
    assert epochs.keys() == {(trial, epoch) for trial in trials for epoch in range(1, 5)}
    for ended, before in zip(told, trained, strict=True):
        same = [trial for trial in trials if all(epochs[trial, n] == before[trial, n] for n in range(1, 5))]
        assert len(same) >= ended, "what was told to have ended never trains again"
    # Only what ran when the driver was killed is done again, and only from the last commit on; how many epochs that
    # are depends on the machine's speed.
    assert len({trial for (trial, _), times in epochs.items() if times > 1}) <= 2 * 3
    assert max(epochs.values()) <= 3
    report = sweeps.report("killed", 3)
    assert (report.status, report.progress.done, report.progress.total) == (AttemptStatus.SUCCEEDED, 12, 12)
    assert report.model_version == 1
    assert "Traceback" not in sweeps.log("killed", 2) + sweeps.log("killed", 3)


def test_every_trial_of_the_killed_sweep_has_one_run_with_every_epoch_once(sweeps):
    children = sweeps.children("killed")
    assert len(children) == 12
    assert {child.info.status for child in children} == {"FINISHED"}
    for child in children:
        assert [step for step, _ in sweeps.history(child, "score")] == [1, 2, 3, 4]


def test_the_worse_of_a_population_go_on_from_the_better_with_other_hyperparameters(sweeps):
    search = {"algorithm": "random", "num_samples": 4, "max_concurrent": 4, "seed": 1}
    spec = sweeps.spec("pbt", search=search, scheduler={"type": "pbt"}, epochs=6)
    sweeps.finish(sweeps.start(spec, "pbt"), "pbt")
    rates = {}
    for trial, _, rate in sweeps.diary("pbt"):
        rates.setdefault(trial, set()).add(rate)
    assert len(rates) == 4
    assert any(len(seen) > 1 for seen in rates.values()), "a learning rate that has changed is trained with"
    assert all(0.001 <= rate <= 0.1 for seen in rates.values() for rate in seen)
    assert len(sweeps.children("pbt")) == 4


def test_a_hyperband_sweep_goes_on_where_its_driver_was_killed(sweeps):
    search = {"num_samples": 6, "max_concurrent": 6, "seed": 1}
    spec = sweeps.spec("band", search=search, scheduler={"type": "hyperband"}, epochs=9)
    process = sweeps.start(spec, "band")
    sweeps.wait_for(lambda: len(sweeps.diary("band")) >= 8 or process.poll(), "8 epochs")
    kill(process)
    sweeps.finish(sweeps.start(spec, "band", 2), "band", 2)
    epochs = Counter((trial, epoch) for trial, epoch, _ in sweeps.diary("band"))
    children = sweeps.children("band")
    assert len(children) == len({trial for trial, _ in epochs}) == 6
    assert {child.info.status for child in children} == {"FINISHED"}
    assert sum(epochs.values()) - len(epochs) <= 4
    assert sum(1 for trial, epoch in epochs if epoch == 9) < 6, "some were stopped"
