"""The loop of one worker."""

import dataclasses
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from jobs.agreement import Wish
from jobs.failure import JobFailed
from jobs.loop import amp_dtype, evaluate, fit
from jobs.sampling import shares
from jobs.seat import Seat
from jobs.state import TrainingState
from platform_app.specs import FailureCause, Precision
from tests.unit.jobs import tiny

ALONE = Seat(torch.device("cpu"))


def train(spec, host, resume_from=None, workload=None):
    """Train to the end, as often as the host has it leave, and give the weights."""
    is_done = False
    while not is_done:
        of_run = workload() if workload else tiny.make({})
        is_done = fit(spec, of_run, ALONE, ("step", resume_from) if resume_from else None, host)
        resume_from = host.saved[-1]
    return of_run.model.state_dict()


def equal(weights, others):
    return all(torch.equal(weights[name], others[name]) for name in weights)


def test_every_epoch_is_reported_with_its_metrics_and_the_steps_done():
    host = tiny.Recorder()
    train(tiny.spec(), host)
    assert [m["epoch"] for m in host.metrics] == [1, 2, 3, 4]
    assert [m["step"] for m in host.metrics] == [5, 10, 15, 20]
    assert host.metrics[0].keys() == {"loss", "error", "train_loss", "epoch", "step", "total_steps"}


@settings(max_examples=20)
@given(leave_after=st.sets(st.integers(1, 19), min_size=1, max_size=4))
def test_a_run_that_leaves_at_any_steps_ends_bit_for_bit_as_one_that_never_stopped(leave_after):
    whole, parts = tiny.Recorder(), tiny.Recorder(leave_after)
    assert equal(train(tiny.spec(), whole), train(tiny.spec(), parts))
    assert parts.metrics == whole.metrics


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_run_resumes_from_any_checkpoint_bit_for_bit(precision):
    spec = tiny.spec(checkpointing={"every_steps": 3}, precision=precision)
    whole = tiny.Recorder()
    weights = train(spec, whole)
    assert [saved["step"] for saved in whole.saved] == [3, 5, 6, 9, 10, 12, 15, 18, 20]
    for saved in whole.saved:
        assert equal(weights, train(spec, tiny.Recorder(), resume_from=saved) if saved["step"] < 20 else weights)


class NoticedInEvaluation(tiny.Recorder):
    """Has it leave in the middle of the evaluations after given steps."""

    def __init__(self, leave_after=()):
        super().__init__()
        self.model = None
        self._evaluations = set(leave_after)

    def wish(self):
        if self._step in self._evaluations and not self.model.training:
            self._evaluations.discard(self._step)
            return Wish.LEAVE
        return Wish.NOTHING


def make_with_drawn_metric():
    """Evaluate by chance."""
    return dataclasses.replace(tiny.make({}), evaluate=lambda model, batch: {"error": torch.rand(())})


def test_a_notice_during_an_evaluation_is_acted_on_and_the_evaluation_done_again_just_so():
    def run(host):
        def make():
            workload = make_with_drawn_metric()
            host.model = workload.model
            return workload

        return train(tiny.spec(checkpointing={"every_epochs": 3}), host, workload=make)

    whole, parts = NoticedInEvaluation(), NoticedInEvaluation({5, 15})
    assert equal(run(whole), run(parts))
    assert [saved["step"] for saved in parts.saved] == [5, 15, 15, 20]
    assert parts.metrics == whole.metrics


def test_a_step_interval_is_kept_where_an_epoch_ends_without_a_checkpoint_of_its_own():
    host = tiny.Recorder()
    train(tiny.spec(checkpointing={"every_steps": 5, "every_epochs": 4}), host)
    assert [saved["step"] for saved in host.saved] == [5, 10, 15, 20]


def steady(**changes):
    """A workload without dropout, whose schedule counts epochs unless it is changed."""
    workload = tiny.make({})
    for part in workload.model:
        if isinstance(part, nn.Dropout):
            part.p = 0.0
    return dataclasses.replace(workload, **changes)


@pytest.mark.parametrize("accumulate", [2, 3, 6])
def test_a_batch_in_micro_batches_takes_the_same_steps(accumulate):
    spec = tiny.spec(batch_size=6)  # 23 samples: the last batch has 5
    whole, parts = tiny.Recorder(), tiny.Recorder()
    expected = train(spec, whole, workload=steady)
    weights = train(spec, parts, workload=lambda: steady(accumulate=accumulate))
    assert all(torch.allclose(weights[name], expected[name], atol=1e-5) for name in expected)
    assert parts.metrics[-1]["step"] == whole.metrics[-1]["step"] == 16
    assert parts.metrics[-1]["train_loss"] == pytest.approx(whole.metrics[-1]["train_loss"], rel=1e-4)


def test_a_run_in_micro_batches_that_leaves_ends_bit_for_bit_as_one_that_never_stopped():
    def make():
        return dataclasses.replace(tiny.make_noisy(), accumulate=2)

    spec = tiny.spec(batch_size=6)
    assert equal(train(spec, tiny.Recorder(), workload=make), train(spec, tiny.Recorder({3, 9}), workload=make))


def test_a_schedule_that_counts_steps_is_stepped_with_them_and_resumed():
    def make():
        workload = tiny.make({})
        schedule = torch.optim.lr_scheduler.LinearLR(workload.optimizer, 0.1, total_iters=10)
        return dataclasses.replace(workload, lr_scheduler=schedule, lr_interval="step")

    whole, parts = tiny.Recorder(), tiny.Recorder({3})
    assert equal(train(tiny.spec(), whole, workload=make), train(tiny.spec(), parts, workload=make))
    first, last = parts.saved[0], parts.saved[-1]
    assert first["optimizer"]["param_groups"][0]["lr"] == pytest.approx(0.01 * (0.1 + 0.9 * 3 / 10))
    assert last["optimizer"]["param_groups"][0]["lr"] == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("changes", "fields", "message"),
    [
        ({"accumulate": 2}, {"batch_size": 5}, "batch_size: 5 does not divide into accumulate=2 micro-batches"),
        (
            {"accumulate": 4},
            {"batch_size": 8, "resources": {"num_workers": 3}},
            "batch_size: micro-batches of 2 samples leave some of 3 workers .* take at least 12",
        ),
        ({"parallel": "fsdp"}, {}, "resources.num_workers: parallel=fsdp shards over 2 workers or more, not over 1"),
        (
            {"parallel": "fsdp"},
            {"precision": "fp16", "resources": {"num_workers": 2}},
            "precision: parallel=fsdp takes bf16 or fp32",
        ),
    ],
)
def test_what_cannot_be_trained_so_is_refused_by_its_field_before_the_first_step(changes, fields, message):
    workload, host = dataclasses.replace(tiny.make({}), **changes), tiny.Recorder()
    with pytest.raises(JobFailed, match=message):
        fit(tiny.spec(**fields), workload, ALONE, None, host)
    assert host.metrics == []


@pytest.mark.parametrize("changes", [{"accumulate": 0}, {"parallel": "tensor"}, {"lr_interval": "minute"}])
def test_a_workload_that_says_what_there_is_not_is_refused_by_its_field(changes):
    with pytest.raises(JobFailed, match=f"{next(iter(changes))}: expected"):
        dataclasses.replace(tiny.make({}), **changes)


def test_augmentation_that_draws_from_any_generator_is_drawn_again_when_a_run_resumes():
    spec = tiny.spec(epochs=2)
    assert equal(
        train(spec, tiny.Recorder(), workload=tiny.make_noisy),
        train(spec, tiny.Recorder({3, 7}), workload=tiny.make_noisy),
    )


def test_a_run_that_is_done_has_nothing_left_to_do_when_it_is_resumed():
    host = tiny.Recorder()
    train(tiny.spec(), host)
    again = tiny.Recorder()
    assert fit(tiny.spec(), tiny.make({}), ALONE, ("step-20", host.saved[-1]), again)
    assert again.metrics == []


def test_checkpoints_are_written_as_often_as_asked_and_always_at_the_end():
    host = tiny.Recorder()
    train(tiny.spec(epochs=5, checkpointing={"every_epochs": 2}), host)
    assert host.ends == [2, 4, 5]


def test_a_checkpoint_of_another_model_is_refused_by_its_name():
    saved = TrainingState(tiny.make({}), None, ALONE.device).snapshot()
    other = dataclasses.replace(tiny.make({}), model=nn.Linear(3, 1))
    with pytest.raises(JobFailed, match=r"checkpoint step-7 is of another model .*Missing key"):
        fit(tiny.spec(), other, ALONE, ("step-7", saved), tiny.Recorder())


def test_a_state_that_cannot_be_saved_is_refused_before_the_first_step():
    class Remembering(torch.optim.SGD):
        def state_dict(self):
            return super().state_dict() | {"hook": lambda: None}

    workload = tiny.make({})
    workload = dataclasses.replace(workload, optimizer=Remembering(workload.model.parameters()), lr_scheduler=None)
    host = tiny.Recorder()
    with pytest.raises(JobFailed, match="the state of the workload's optimizer cannot be saved"):
        fit(tiny.spec(), workload, ALONE, None, host)
    assert host.metrics == []


def test_a_snapshot_does_not_change_with_the_training():
    workload = tiny.make({})
    state = TrainingState(workload, None, ALONE.device)
    saved = state.snapshot()
    before = {name: value.clone() for name, value in saved["model"].items()}
    state.add_gradient(workload.loss(workload.model, workload.train_dataset[:5]))
    state.take_step()
    assert equal(before, saved["model"])
    assert saved["step"] == 0


def test_a_metric_that_the_workload_lacks_is_refused_before_the_first_epoch():
    reports = tiny.Recorder()
    with pytest.raises(JobFailed, match="'accuracy'; it reports: error, loss") as refused:
        train(tiny.spec(objective={"metric": "accuracy", "mode": "max"}), reports)
    assert refused.value.cause is FailureCause.METRIC_MISSING
    assert reports.metrics == []


@pytest.mark.parametrize(("mode", "worst"), [("min", math.inf), ("max", -math.inf)])
def test_a_diverged_run_reports_the_worst_of_all_values_rather_than_nan(mode, worst):
    diverged = dataclasses.replace(tiny.make({}), evaluate=lambda model, batch: {"error": math.nan})
    reports = tiny.Recorder()
    spec = tiny.spec(epochs=2, objective={"metric": "error", "mode": mode})
    fit(spec, diverged, ALONE, None, reports)
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
def test_a_run_in_half_precision_keeps_learning(precision):
    reports = tiny.Recorder()
    train(tiny.spec(epochs=8, precision=precision), reports)
    assert reports.metrics[-1]["loss"] < reports.metrics[0]["loss"]


def test_a_batch_of_tuples_and_dicts_is_moved_whole():
    moved = ALONE.place({"x": [torch.zeros(1), ("name", torch.ones(1))]})
    assert torch.equal(moved["x"][1][1], torch.ones(1))
