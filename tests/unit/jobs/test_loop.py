"""The loop of one worker."""

import dataclasses
import math

import pytest
import torch
from ray.train import Checkpoint
from torch import nn

from jobs.failure import JobFailed
from jobs.loop import amp_dtype, evaluate, fit
from jobs.sampling import shares
from jobs.seat import Seat
from platform_app.specs import FailureCause, Precision
from tests.unit.jobs import tiny

ALONE = Seat(torch.device("cpu"))


def train(spec, reports, resume_from=None):
    workload = tiny.make({})
    fit(spec, workload, ALONE, resume_from, reports, log=lambda metrics, step: None)
    return workload.model.state_dict()


def test_every_epoch_is_reported_with_its_metrics_and_the_steps_done(tmp_path):
    reports = tiny.Reports(tmp_path)
    train(tiny.spec(), reports)
    assert [m["epoch"] for m in reports.metrics] == [1, 2, 3, 4]
    assert [m["step"] for m in reports.metrics] == [5, 10, 15, 20]
    assert reports.metrics[0].keys() == {"loss", "error", "train_loss", "epoch", "step", "total_steps"}


def test_a_resumed_run_ends_with_the_weights_of_one_that_never_stopped(tmp_path):
    (tmp_path / "whole").mkdir()
    (tmp_path / "half").mkdir()
    whole = train(tiny.spec(), tiny.Reports(tmp_path / "whole"))
    half = tiny.Reports(tmp_path / "half")
    train(tiny.spec(epochs=2), half)
    rest = tiny.Reports(tmp_path / "half" / "rest")
    resumed = train(tiny.spec(), rest, resume_from=Checkpoint.from_directory(str(half.checkpoints[-1])))
    assert [m["epoch"] for m in rest.metrics] == [3, 4]
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_run_that_is_done_has_nothing_left_to_do_when_it_is_resumed(tmp_path):
    reports = tiny.Reports(tmp_path)
    train(tiny.spec(), reports)
    again = tiny.Reports(tmp_path / "again")
    train(tiny.spec(), again, resume_from=Checkpoint.from_directory(str(reports.checkpoints[-1])))
    assert again.metrics == []


def test_checkpoints_are_written_as_often_as_asked_and_always_at_the_end(tmp_path):
    reports = tiny.Reports(tmp_path)
    train(tiny.spec(epochs=5, checkpointing={"every_epochs": 2}), reports)
    assert [path.name for path in reports.checkpoints] == ["checkpoint-2", "checkpoint-4", "checkpoint-5"]


def test_a_metric_that_the_workload_lacks_is_refused_before_the_first_epoch(tmp_path):
    reports = tiny.Reports(tmp_path)
    with pytest.raises(JobFailed, match="'accuracy'; it reports: error, loss") as refused:
        train(tiny.spec(objective={"metric": "accuracy", "mode": "max"}), reports)
    assert refused.value.cause is FailureCause.METRIC_MISSING
    assert reports.metrics == []


@pytest.mark.parametrize(("mode", "worst"), [("min", math.inf), ("max", -math.inf)])
def test_a_diverged_run_reports_the_worst_of_all_values_rather_than_nan(tmp_path, mode, worst):
    diverged = dataclasses.replace(tiny.make({}), evaluate=lambda model, batch: {"error": math.nan})
    reports = tiny.Reports(tmp_path)
    spec = tiny.spec(epochs=2, objective={"metric": "error", "mode": mode})
    fit(spec, diverged, ALONE, None, reports, log=lambda metrics, step: None)
    assert reports.metrics[-1]["error"] == worst


@pytest.mark.parametrize("batch_size", [1, 4, 23, 100])
def test_evaluation_is_exact_whatever_the_batch_size(batch_size):
    workload = tiny.make({})
    metrics = evaluate(workload, ALONE, range(23), batch_size)
    inputs, targets = workload.eval_dataset.tensors
    with torch.no_grad():
        expected = (workload.model.eval()(inputs) - targets).abs().mean().item()
    assert metrics["error"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("world_size", [2, 3, 7])
def test_averaging_the_workers_weighted_gradients_gives_the_gradient_of_the_whole_batch(world_size):
    model = nn.Linear(3, 1)
    inputs, targets = torch.randn(5, 3), torch.randn(5, 1)

    def gradient(indices, weight):
        model.zero_grad()
        (nn.functional.mse_loss(model(inputs[indices]), targets[indices]) * weight).backward()
        return model.weight.grad.clone()

    parts = [next(shares(range(5), 5, rank, world_size)) for rank in range(world_size)]
    average = sum(gradient(part.indices, part.weight) for part in parts) / world_size
    assert torch.allclose(average, gradient(list(range(5)), 1.0), atol=1e-6)


@pytest.mark.parametrize(
    ("precision", "expected"),
    [
        (Precision.AUTO, None),
        (Precision.FP32, None),
        (Precision.BF16, torch.bfloat16),
        (Precision.FP16, torch.float16),
    ],
)
def test_precision_on_a_cpu(precision, expected):
    assert amp_dtype(precision, torch.device("cpu")) is expected


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_run_in_half_precision_keeps_learning(tmp_path, precision):
    reports = tiny.Reports(tmp_path)
    train(tiny.spec(epochs=8, precision=precision), reports)
    assert reports.metrics[-1]["loss"] < reports.metrics[0]["loss"]


def test_a_batch_of_tuples_and_dicts_is_moved_whole():
    moved = ALONE.place({"x": [torch.zeros(1), ("name", torch.ones(1))]})
    assert torch.equal(moved["x"][1][1], torch.ones(1))
