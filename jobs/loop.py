"""The training loop of one worker, the same for a worker of a DDP run and for a sweep's trial (a world of one)."""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from ray.train import Checkpoint
from torch import nn
from torch.utils.data import DataLoader, Dataset

from jobs.failure import JobFailed
from jobs.metrics import comparable
from jobs.sampling import Share, order, seed_of, shares, steps_per_epoch
from jobs.seat import Seat
from jobs.state import TrainingState
from jobs.workload import Batch, Workload
from platform_app.specs import FailureCause, Objective, Precision, SweepSpec, TrainSpec

LOG_EVERY_STEPS = 10

Report = Callable[[dict[str, float], Path | None], None]
"""Takes an epoch's metrics and, on one of the workers, a folder with a checkpoint; every worker calls it."""
Log = Callable[[Mapping[str, float], int], None]
"""Takes metrics and the step they belong to; returns at once."""


def fit(
    spec: TrainSpec | SweepSpec,
    workload: Workload,
    seat: Seat,
    resume_from: Checkpoint | None,
    report: Report,
    log: Log,
) -> None:
    """Train from a checkpoint, or from the start, to the last epoch.

    Args:
        spec: how long, in what batches and with which precision.
        workload: what.
        seat: this worker's place.
        resume_from: the last checkpoint of this run; None for a new one.
        report: hands an epoch's result to Ray.
        log: takes metrics as they come, for MLflow.

    Raises:
        JobFailed: `metric-missing`: the workload does not report the objective's metric.
    """
    state = TrainingState(workload, amp_dtype(spec.precision, seat.device), seat.device)
    if resume_from:
        state.restore(resume_from)
    size, eval_size = len(workload.train_dataset), len(workload.eval_dataset)  # type: ignore[arg-type]  # map-style
    _require(spec.objective, evaluate(workload, seat, range(min(2, eval_size)), batch_size=2))
    model = seat.parallel(workload.model)
    steps = steps_per_epoch(size, spec.batch_size)
    for epoch in range(state.step // steps, spec.epochs):
        # What dropout draws depends on nothing before this epoch, so that a resumed run draws the same.
        torch.manual_seed(seed_of(spec.seed, epoch, seat.rank))
        parts = list(shares(order(spec.seed, epoch, size), spec.batch_size, seat.rank, seat.world_size))
        metrics = {"train_loss": _train_epoch(workload, state, model, seat, parts, log)}
        metrics |= evaluate(workload, seat, range(eval_size), spec.batch_size)
        log(metrics | {"epoch": epoch + 1}, state.step)
        metrics[spec.objective.metric] = comparable(metrics[spec.objective.metric], spec.objective)
        metrics |= {"epoch": epoch + 1, "step": state.step, "total_steps": steps * spec.epochs}
        due = (epoch + 1) % spec.checkpointing.every_epochs == 0 or epoch + 1 == spec.epochs
        saves = due and seat.rank == 0
        with tempfile.TemporaryDirectory() as folder:
            if saves:
                state.save(Path(folder))
            report(metrics, Path(folder) if saves else None)


def evaluate(workload: Workload, seat: Seat, indices: Sequence[int], batch_size: int) -> dict[str, float]:
    """Average the loss and the workload's metrics exactly over samples of the evaluation dataset, over all workers."""
    workload.model.eval()
    parts = list(shares(indices, batch_size, seat.rank, seat.world_size))
    sums: dict[str, float] = {}
    with torch.no_grad():
        for share, batch in zip(parts, _batches(workload, workload.eval_dataset, parts, seat), strict=True):
            means = {"loss": workload.loss(workload.model, batch), **workload.evaluate(workload.model, batch)}
            for name, mean in means.items():
                # The metric of a share that does not count may be NaN, and is so still when multiplied by 0.
                sums[name] = sums.get(name, 0.0) + (float(mean) * share.num_samples if share.num_samples else 0.0)
    totals = seat.sum([sums[name] for name in sorted(sums)])
    return {name: total / len(indices) for name, total in zip(sorted(sums), totals, strict=True)}


def amp_dtype(precision: Precision, device: torch.device) -> torch.dtype | None:
    """Choose the arithmetic of the forward pass; None is plain fp32."""
    if precision is Precision.AUTO and device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return {Precision.BF16: torch.bfloat16, Precision.FP16: torch.float16}.get(precision)


def _train_epoch(
    workload: Workload, state: TrainingState, model: nn.Module, seat: Seat, parts: Sequence[Share], log: Log
) -> float:
    model.train()
    total = torch.zeros((), device=seat.device)
    for share, batch in zip(parts, _batches(workload, workload.train_dataset, parts, seat), strict=True):
        with torch.autocast(seat.device.type, dtype=state.amp_dtype, enabled=state.amp_dtype is not None):
            loss = workload.loss(model, batch)
        state.take_step(loss * share.weight)
        total += loss.detach() * share.num_samples
        if state.step % LOG_EVERY_STEPS == 0:
            log({"train_loss_step": loss.item()}, state.step)
    state.end_epoch()
    summed, samples = seat.sum([total.item(), sum(part.num_samples for part in parts)])
    return summed / samples


def _batches(workload: Workload, dataset: Dataset[Any], parts: Sequence[Share], seat: Seat) -> Iterator[Batch]:
    loader = DataLoader(
        dataset,
        batch_sampler=[share.indices for share in parts],
        num_workers=workload.num_data_workers,
        pin_memory=seat.device.type == "cuda",
    )
    return (seat.place(batch) for batch in loader)


def _require(objective: Objective, metrics: Mapping[str, float]) -> None:
    if objective.metric not in metrics:
        message = f"the workload never reports {objective.metric!r}; it reports: {', '.join(sorted(metrics))}"
        raise JobFailed(FailureCause.METRIC_MISSING, f"objective.metric: {message}")
