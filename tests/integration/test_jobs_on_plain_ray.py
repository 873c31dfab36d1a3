"""Training and sweeps on a Ray cluster that knows nothing of the platform, as `ray job submit` would run them.

The GPUs are Ray's alone: torch sees none, and the workers use gloo on CPUs. MLflow is a SQLite file.
"""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from platform_app.specs import AttemptStatus, FailureCause
from tests.plain_ray import run_of

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]

EXAMPLES = Path(__file__).parents[2] / "jobs" / "examples"


@pytest.fixture(scope="module")
def stopped_and_resumed(ray_node):
    """A DDP run whose driver was told to stop after its first checkpoint, and its second attempt."""
    spec = yaml.safe_load((EXAMPLES / "ddp.yaml").read_text()) | {"epochs": 40}
    first = ray_node.start("jobs.train", spec, "ddp-1")
    checkpoints = ray_node.storage / "ddp-1" / "checkpoints"
    ray_node.wait_for(lambda: any(checkpoints.glob("step-*")), "a checkpoint", 90)
    first.send_signal(signal.SIGTERM)
    first_code = first.wait(30)
    client = ray_node.mlflow()
    experiment = client.get_experiment_by_name("slipway").experiment_id
    status = client.search_runs([experiment], "tags.`slipway.job_id` = 'ddp-1'")[0].info.status
    second_code = ray_node.run("jobs.train", spec, "ddp-1", attempt=2)
    return {"codes": (first_code, second_code), "status_after_stop": status}


def test_a_driver_that_is_told_to_stop_leaves_its_run_killed(stopped_and_resumed):
    assert stopped_and_resumed["codes"][0] == 128 + signal.SIGTERM
    assert stopped_and_resumed["status_after_stop"] == "KILLED"


def test_the_next_attempt_goes_on_from_the_checkpoint_under_the_same_run(ray_node, stopped_and_resumed):
    assert stopped_and_resumed["codes"][1] == 0
    log = ray_node.log_path("ddp-1", 2).read_text()
    assert "epoch 1:" not in log
    assert "epoch 40:" in log
    run = run_of(ray_node, "ddp-1")
    assert run.info.status == "FINISHED"
    assert run.data.tags["slipway.attempt"] == "2"
    assert ray_node.report("ddp-1", 2).mlflow_run_id == ray_node.report("ddp-1", 1).mlflow_run_id == run.info.run_id


def test_digits_are_learned_on_two_workers_and_the_report_says_so(ray_node, stopped_and_resumed):
    report = ray_node.report("ddp-1", 2)
    assert report.status is AttemptStatus.SUCCEEDED
    assert (report.progress.done, report.progress.total, report.progress.unit) == (480, 480, "steps")
    metrics = run_of(ray_node, "ddp-1").data.metrics
    assert metrics["accuracy"] >= 0.95
    assert "train_loss_step" in metrics
    assert "system/cpu_utilization_percentage" in metrics


def test_the_best_checkpoint_is_a_version_that_scores_what_its_run_says(ray_node, stopped_and_resumed):
    run, report = run_of(ray_node, "ddp-1"), ray_node.report("ddp-1", 2)
    [version] = ray_node.mlflow().search_model_versions("name = 'digits'")
    assert int(version.version) == report.model_version
    assert (version.run_id, version.tags["slipway.job_id"]) == (run.info.run_id, "ddp-1")
    program = f"""
import mlflow, torch
from mlflow.models import get_model_info
from jobs.workloads.digits import test_set
mlflow.set_tracking_uri({ray_node.tracking_uri!r})
signature = get_model_info("models:/digits/{version.version}").signature
assert signature.inputs.inputs[0].shape == (-1, 64) and str(signature.inputs.inputs[0].type) == "float32"
assert signature.outputs.inputs[0].shape == (-1, 10)
images, digits = test_set()
model = mlflow.pytorch.load_model("models:/digits/{version.version}")
with torch.no_grad():
    print("accuracy", (model(torch.from_numpy(images)).argmax(1).numpy() == digits).mean())
"""
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    served = float(loaded.stdout.split("accuracy ")[1])
    assert served == pytest.approx(run.data.metrics["accuracy"], abs=1e-9)


def test_a_sweep_gives_a_child_run_for_each_trial_and_one_version(ray_node):
    spec = {
        "name": "sweep",
        "workload": "jobs.workloads.digits:make",
        "epochs": 4,
        "objective": {"metric": "accuracy", "mode": "max"},
        "space": {"lr": {"type": "loguniform", "low": 0.001, "high": 0.03}},
        "search": {"num_samples": 4, "max_concurrent": 4, "seed": 1},
        "scheduler": {"type": "asha", "grace_period": 2},
        "resources": {"gpus_per_worker": 0.5, "market": "spot"},
        "registered_model": "swept",
    }
    assert ray_node.run("jobs.sweep", spec, "sweep-1") == 0, ray_node.log_path("sweep-1").read_text()
    parent, client = run_of(ray_node, "sweep-1"), ray_node.mlflow()
    children = client.search_runs([parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    assert len(children) == 4
    assert {child.info.status for child in children} == {"FINISHED"}
    assert all({"accuracy", "loss", "epoch"} <= child.data.metrics.keys() for child in children)
    early = [child for child in children if child.data.tags.get("slipway.early_stopped")]
    assert all(child.data.metrics["epoch"] < 4 for child in early)
    best = max(point.value for child in children for point in client.get_metric_history(child.info.run_id, "accuracy"))
    assert parent.data.metrics["accuracy"] == best
    assert "best_lr" in parent.data.params
    assert len(client.search_model_versions("name = 'swept'")) == 1
    report = ray_node.report("sweep-1")
    assert (report.status, report.model_version) == (AttemptStatus.SUCCEEDED, 1)
    assert (report.progress.done, report.progress.total, report.progress.unit) == (4, 4, "trials")


def test_a_workload_that_does_not_import_fails_once_with_its_reason(ray_node):
    spec = {"name": "lost", "workload": "no_such_module:make", "max_failures": 3}
    assert ray_node.run("jobs.train", spec, "lost-1") == 1
    report = ray_node.report("lost-1")
    assert (report.status, report.cause) == (AttemptStatus.FAILED, FailureCause.IMPORT_FAILED)
    assert "no_such_module" in report.message
    assert "Traceback" not in ray_node.log_path("lost-1").read_text()
    assert run_of(ray_node, "lost-1").info.status == "FAILED"


def test_a_sweep_over_a_metric_that_is_never_reported_ends_at_its_first_trial(ray_node):
    spec = {
        "name": "blind",
        "workload": "jobs.workloads.digits:make",
        "objective": {"metric": "f1", "mode": "max"},
        "space": {"lr": {"type": "uniform", "low": 0.001, "high": 0.01}},
        "search": {"num_samples": 50, "max_concurrent": 1},
    }
    assert ray_node.run("jobs.sweep", spec, "blind-1") == 1
    report = ray_node.report("blind-1")
    assert report.cause is FailureCause.METRIC_MISSING
    assert "'f1'; it reports: accuracy, loss" in report.message


def test_a_bad_spec_is_refused_by_its_field(ray_node):
    assert ray_node.run("jobs.train", {"name": "digits", "workload": "a:b", "epochs": 0}, "bad-1") == 2
    assert ray_node.log_path("bad-1").read_text() == "epochs: Input should be greater than or equal to 1\n"
