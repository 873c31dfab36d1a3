"""The training loop of one worker, the same for a worker of a DDP run and for a sweep's trial (a world of one)."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from jobs.agreement import Agreement, Wish
from jobs.failure import JobFailed
from jobs.metrics import comparable
from jobs.sampling import Share, micro_batches, order, seed_of, shares, steps_per_epoch
from jobs.seat import Seat, seed_generators
from jobs.sharding import shard
from jobs.state import TrainingState
from jobs.workload import Batch, Workload, require_trainable
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
        """Keep a checkpoint from the middle of an epoch; called on the worker of rank 0, or where each has a part."""

    def end_epoch(self, metrics: dict[str, float], saved: Saved | None) -> None:
        """Take an epoch's metrics and, where one is due, a checkpoint; called on every worker.

        Those get a checkpoint of whom `save` is called.
        """

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
        JobFailed: the workload cannot be trained as the spec says, does not report the objective's metric, its state
            cannot be saved, or the checkpoint is of another model.
    """
    arithmetic = amp_dtype(spec.precision, seat.device)
    require_trainable(spec, workload, arithmetic)
    is_sharded = workload.parallel == "fsdp"
    mesh = shard(workload.model, workload.optimizer, seat.device, seat.world_size) if is_sharded else None
    state = TrainingState(workload, arithmetic, seat.device, mesh)
    state.require_savable()
    if resume_from:
        state.restore(resume_from[1], source=resume_from[0])
    size, eval_size = len(workload.train_dataset), len(workload.eval_dataset)  # type: ignore[arg-type]  # map-style
    _require(spec.objective, evaluate(workload, seat, range(min(2, eval_size)), batch_size=2) or {})
    model = seat.parallel(workload.model)
    agreement = Agreement(seat, spec.checkpointing, host.wish)
    total_steps = steps_per_epoch(size, spec.batch_size) * spec.epochs
    while state.epoch < spec.epochs:
        agreement.begins()
        loss_sum = _train_epoch(spec, workload, state, model, seat, host, agreement)
        if loss_sum is None:
            return False
        agreement.begins()
        # What an evaluation draws depends on nothing before it, too: one that was left is done again, and the same.
        seed_generators(seed_of(spec.seed, state.epoch, state.position, seat.rank), seat.device)
        evaluated = evaluate(workload, seat, range(eval_size), spec.batch_size // workload.accumulate, agreement)
        if evaluated is None:
            _save(state, loss_sum, seat, host)
            return False
        metrics = {"train_loss": seat.sum([loss_sum])[0] / size} | evaluated
        state.end_epoch()
        host.log(metrics | {"epoch": state.epoch}, state.step)
        metrics[spec.objective.metric] = comparable(metrics[spec.objective.metric], spec.objective)
        metrics |= {"epoch": state.epoch, "step": state.step, "total_steps": total_steps}
        writes = _ends_with_checkpoint(spec, state.epoch) and _writes(state, seat)
        host.end_epoch(metrics, state.snapshot() if writes else None)
    return True


def evaluate(
    workload: Workload, seat: Seat, indices: Sequence[int], batch_size: int, agreement: Agreement | None = None
) -> dict[str, float] | None:
    """Average the loss and the workload's metrics exactly over samples of the evaluation dataset, over all workers.

    Args:
        workload: whose model it is.
        seat: this worker's place.
        indices: of the samples.
        batch_size: samples that are computed at a time, over all workers.
        agreement: by which the workers may leave; without one they do not.

    Returns:
        The metrics by name; None when the workers leave before they have them.
    """
    workload.model.eval()
    parts = list(shares(indices, batch_size, seat.rank, seat.world_size))
    sums: dict[str, float] = {}
    with torch.no_grad():
        for share, batch in zip(parts, _batches(workload, workload.eval_dataset, parts, seat), strict=True):
            means = {"loss": workload.loss(workload.model, batch), **workload.evaluate(workload.model, batch)}
            for name, mean in means.items():
                # The metric of a share that does not count may be NaN, and is so still when multiplied by 0.
                sums[name] = sums.get(name, 0.0) + (float(mean) * share.num_samples if share.num_samples else 0.0)
            if agreement and agreement.is_leaving():
                return None
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
    parts_of_steps = micro_batches(indices, spec.batch_size, workload.accumulate, seat.rank, seat.world_size)
    steps = list(parts_of_steps)[state.position :]
    parts = [part for step in steps for part in step]
    first = state.position * workload.accumulate
    seeds = [seed_of(spec.seed, state.epoch, first + i, seat.rank) for i in range(len(parts))]
    batches, seed = _batches(workload, workload.train_dataset, parts, seat, seeds), iter(seeds)
    total = torch.tensor(_own_part(state.loss_sums, seat), device=seat.device)
    for step in steps:
        for part in step:
            # What augmentation and dropout draw depends on nothing before this step: a resumed run draws the same.
            seed_generators(next(seed), seat.device)
            batch = next(batches)
            with seat.computing(model, is_last=part is step[-1]):
                with torch.autocast(seat.device.type, dtype=state.amp_dtype, enabled=state.amp_dtype is not None):
                    loss = workload.loss(model, batch)
                state.add_gradient(loss * part.weight)
            total += loss.detach() * part.num_samples
        state.take_step()
        host.stepped(state.step)
        if state.step % LOG_EVERY_STEPS == 0:
            host.log({"train_loss_step": loss.item()}, state.step)
        wish = agreement.at(state.step)
        # The end of the epoch may bring a checkpoint of its own, unless it does not come to that.
        is_near = step is steps[-1] and _ends_with_checkpoint(spec, state.epoch + 1)
        if wish is Wish.LEAVE or (wish is Wish.SAVE and not is_near):
            _save(state, total.item(), seat, host)
        if wish is Wish.LEAVE:
            return None
    return total.item()


def _save(state: TrainingState, loss_sum: float, seat: Seat, host: Host) -> None:
    """Have the state in the middle of an epoch kept, with each worker's sum of losses so far."""
    state.loss_sums = seat.gather(loss_sum)
    if _writes(state, seat):
        host.save(state.snapshot())


def _writes(state: TrainingState, seat: Seat) -> bool:
    return seat.rank == 0 or state.is_sharded


def _ends_with_checkpoint(spec: TrainSpec | SweepSpec, epoch: int) -> bool:
    """Say whether there is a checkpoint at the end of an epoch, the first of which is 1."""
    return epoch % spec.checkpointing.every_epochs == 0 or epoch == spec.epochs


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
