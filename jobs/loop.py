"""The training loop of one worker, the same for a worker of a DDP run and for a sweep's trial (a world of one)."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from jobs.agreement import Agreement, Wish
from jobs.failure import JobFailed
from jobs.metrics import comparable
from jobs.sampling import Share, order, seed_of, shares, steps_per_epoch
from jobs.seat import Seat, seed_generators
from jobs.state import TrainingState
from jobs.workload import Batch, Workload
from platform_app.specs import FailureCause, Objective, Precision, SweepSpec, TrainSpec

LOG_EVERY_STEPS = 10

Saved = dict[str, Any]
"""A training state in host memory, which no one changes any more."""

Log = Callable[[Mapping[str, float], int], None]
"""Takes metrics and the step they belong to; returns at once."""


class Host(Protocol):
    """What runs the loop: Ray Train's worker, or Tune's trial. Nothing that it does may hold up a step."""

    def wish(self) -> Wish:
        """Say what this worker wishes that all of them do at their next step together."""

    def stepped(self, step: int) -> None:
        """Learn that a step was taken."""

    def save(self, saved: Saved) -> None:
        """Keep a checkpoint from the middle of an epoch; called on the worker of rank 0."""

    def end_epoch(self, metrics: dict[str, float], saved: Saved | None) -> None:
        """Take an epoch's metrics and, on the worker of rank 0 where one is due, a checkpoint; called on every one."""

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Take metrics as they come, for MLflow."""


def fit(
    spec: TrainSpec | SweepSpec, workload: Workload, seat: Seat, resume_from: tuple[str, Saved] | None, host: Host
) -> bool:
    """Train from a checkpoint, or from the start, to the last epoch.

    Args:
        spec: how long, in what batches and with which precision.
        workload: what.
        seat: this worker's place.
        resume_from: name and content of the last checkpoint of this run, the same on every worker; None for a new one.
        host: takes what comes of it, and may ask to leave.

    Returns:
        Whether it is done; otherwise it has left, after a checkpoint of the last step.

    Raises:
        JobFailed: the workload does not report the objective's metric, its state cannot be saved, or the checkpoint
            is of another model.
    """
    state = TrainingState(workload, amp_dtype(spec.precision, seat.device), seat.device)
    state.require_savable()
    if resume_from:
        state.restore(resume_from[1], source=resume_from[0])
    size, eval_size = len(workload.train_dataset), len(workload.eval_dataset)  # type: ignore[arg-type]  # map-style
    _require(spec.objective, evaluate(workload, seat, range(min(2, eval_size)), batch_size=2))
    model = seat.parallel(workload.model)
    agreement = Agreement(seat, spec.checkpointing, host.wish)
    total_steps = steps_per_epoch(size, spec.batch_size) * spec.epochs
    while state.epoch < spec.epochs:
        loss_sum = _train_epoch(spec, workload, state, model, seat, host, agreement)
        if loss_sum is None:
            return False
        metrics = {"train_loss": seat.sum([loss_sum])[0] / size}
        metrics |= evaluate(workload, seat, range(eval_size), spec.batch_size)
        state.end_epoch()
        host.log(metrics | {"epoch": state.epoch}, state.step)
        metrics[spec.objective.metric] = comparable(metrics[spec.objective.metric], spec.objective)
        metrics |= {"epoch": state.epoch, "step": state.step, "total_steps": total_steps}
        due = state.epoch % spec.checkpointing.every_epochs == 0 or state.epoch == spec.epochs
        host.end_epoch(metrics, state.snapshot() if due and seat.rank == 0 else None)
    return True


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
    spec: TrainSpec | SweepSpec,
    workload: Workload,
    state: TrainingState,
    model: nn.Module,
    seat: Seat,
    host: Host,
    agreement: Agreement,
) -> float | None:
    """Take the steps that are left of an epoch; give this worker's sum of losses over it, None when it leaves."""
    model.train()
    indices = order(spec.seed, state.epoch, len(workload.train_dataset))  # type: ignore[arg-type]  # map-style
    parts = list(shares(indices, spec.batch_size, seat.rank, seat.world_size))[state.position :]
    seeds = [seed_of(spec.seed, state.epoch, state.position + i, seat.rank) for i in range(len(parts))]
    batches = _batches(workload, workload.train_dataset, parts, seat, seeds)
    total = torch.tensor(_own_part(state.loss_sums, seat), device=seat.device)
    for seed, share in zip(seeds, parts, strict=True):
        # What augmentation and dropout draw depends on nothing before this step: a resumed run draws the same.
        seed_generators(seed, seat.device)
        batch = next(batches)
        with torch.autocast(seat.device.type, dtype=state.amp_dtype, enabled=state.amp_dtype is not None):
            loss = workload.loss(model, batch)
        state.take_step(loss * share.weight)
        total += loss.detach() * share.num_samples
        host.stepped(state.step)
        if state.step % LOG_EVERY_STEPS == 0:
            host.log({"train_loss_step": loss.item()}, state.step)
        wish = agreement.at(state.step)
        # The end of the epoch brings a checkpoint of its own, unless it does not come to that.
        if wish is Wish.LEAVE or (wish is Wish.SAVE and share is not parts[-1]):
            state.loss_sums = seat.gather(total.item())
            if seat.rank == 0:
                host.save(state.snapshot())
        if wish is Wish.LEAVE:
            return None
    return total.item()


class _Seeded(Dataset[Any]):
    """A dataset whose batches, read in another process, draw the same at every reading."""

    def __init__(self, dataset: Dataset[Any]) -> None:
        self._dataset = dataset

    def __getitems__(self, seed_and_indices: Sequence[int]) -> list[Any]:
        seed, *indices = seed_and_indices
        seed_generators(seed, torch.device("cpu"))
        return [self._dataset[index] for index in indices]


def _batches(
    workload: Workload, dataset: Dataset[Any], parts: Sequence[Share], seat: Seat, seeds: Sequence[int] | None = None
) -> Iterator[Batch]:
    indices = [share.indices for share in parts]
    if seeds and workload.num_data_workers:
        dataset = _Seeded(dataset)
        indices = [[seed, *one] for seed, one in zip(seeds, indices, strict=True)]
    loader = DataLoader(
        dataset,
        batch_sampler=indices,
        num_workers=workload.num_data_workers,
        pin_memory=seat.device.type == "cuda",
    )
    return (seat.place(batch) for batch in loader)


def _own_part(loss_sums: Sequence[float], seat: Seat) -> float:
    """Give what this worker goes on from; another number of workers leaves the sum of all to the first of them."""
    if len(loss_sums) == seat.world_size:
        return loss_sums[seat.rank]
    return sum(loss_sums, start=0.0) if seat.rank == 0 else 0.0


def _require(objective: Objective, metrics: Mapping[str, float]) -> None:
    if objective.metric not in metrics:
        message = f"the workload never reports {objective.metric!r}; it reports: {', '.join(sorted(metrics))}"
        raise JobFailed(FailureCause.METRIC_MISSING, f"objective.metric: {message}")
