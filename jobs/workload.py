"""The interface that users write against: a function `config -> Workload` says what to train; `jobs.loop` says how.

    def make(config: dict[str, Any]) -> Workload:
        model = torch.nn.Linear(64, 10)
        return Workload(
            model=model,
            train_dataset=...,
            eval_dataset=...,
            optimizer=torch.optim.SGD(model.parameters(), lr=config["lr"]),
            loss=lambda model, batch: cross_entropy(model(batch[0]), batch[1]),
            evaluate=lambda model, batch: {"accuracy": (model(batch[0]).argmax(1) == batch[1]).float().mean()},
            example_input=torch.zeros(1, 64),
        )

The function runs in every training worker, with the same config and the same random seed. It neither moves anything
to a device nor shards anything: the loop does.
"""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import Dataset

from jobs.failure import JobFailed, describe
from platform_app.specs import FailureCause, SweepSpec, TrainSpec

Batch = Any
"""Samples of a dataset, stacked by torch's default collation, on the model's device."""


@dataclass(frozen=True)
class Workload:
    """What to train."""

    model: nn.Module
    """Takes a tensor like `example_input`; what it gives for one is what the served model answers."""
    train_dataset: Dataset[Any]
    """Map-style: has `len()` and `[index]`."""
    eval_dataset: Dataset[Any]
    """Map-style; read whole after every epoch."""
    optimizer: Optimizer
    """Over the parameters of `model`."""
    loss: Callable[[nn.Module, Batch], Tensor]
    """Mean loss over the samples of a batch, a scalar. Minimised, and reported over `eval_dataset` as `loss`."""
    evaluate: Callable[[nn.Module, Batch], Mapping[str, Tensor | float]]
    """Metrics over a batch, each a mean over its samples; averaged exactly over `eval_dataset`."""
    example_input: Tensor
    """A few samples as the model takes them, the batch dimension first; becomes the served model's signature."""
    lr_scheduler: LRScheduler | None = None
    """Stepped after every `lr_interval`."""
    lr_interval: Literal["epoch", "step"] = "epoch"
    """What the schedule counts: epochs, or optimizer steps."""
    accumulate: int = 1
    """Micro-batches that a batch is computed in, one after another, so that memory holds but one of them. The
    optimizer still takes one step a batch, and the mathematics stays what it is."""
    parallel: Literal["ddp", "fsdp"] = "ddp"
    """`ddp`: every worker holds the whole model. `fsdp`: it is sharded over the workers (FSDP2), and so are the
    optimizer's state and the checkpoints; each block in an `nn.ModuleList` is whole only while it computes."""
    num_data_workers: int = 0
    """Processes that read samples ahead of each training worker; 0 reads them in the training worker itself."""

    def __post_init__(self) -> None:
        _require(self.parallel in ("ddp", "fsdp"), f"parallel: expected ddp or fsdp, got {self.parallel!r}")
        _require(
            self.lr_interval in ("epoch", "step"), f"lr_interval: expected epoch or step, got {self.lr_interval!r}"
        )
        is_count = isinstance(self.accumulate, int) and self.accumulate >= 1
        _require(is_count, f"accumulate: expected a number of micro-batches from 1, got {self.accumulate!r}")


def require_trainable(spec: TrainSpec | SweepSpec, workload: Workload, amp_dtype: torch.dtype | None) -> None:
    """Find out before training whether a workload can be trained as its job says.

    Args:
        spec: the job's.
        workload: that was built for it.
        amp_dtype: arithmetic of the forward pass; None is plain fp32.

    Raises:
        JobFailed: it cannot; the message names the field.
    """
    batch, parts, workers = spec.batch_size, workload.accumulate, spec.resources.max_workers
    _require(batch % parts == 0, f"batch_size: {batch} does not divide into accumulate={parts} micro-batches")
    _require(
        batch // parts >= workers,
        f"batch_size: micro-batches of {batch // parts} samples leave some of {workers} workers without one; "
        f"with accumulate={parts} take at least {workers * parts}",
    )
    if workload.parallel == "fsdp":
        _require(isinstance(spec, TrainSpec), "parallel: a sweep's trials hold whole models: take ddp")
        least = spec.resources.min_workers
        _require(least > 1, f"resources.num_workers: parallel=fsdp shards over 2 workers or more, not over {least}")
        # Each worker would see the overflows of its own shards alone, and scale differently from then on.
        _require(amp_dtype is not torch.float16, "precision: parallel=fsdp takes bf16 or fp32, not fp16")


def load_object(path: str, field: str) -> Any:
    """Import `module:attr`.

    Args:
        path: what to import.
        field: the spec's field that names it, for the message.

    Raises:
        JobFailed: `import-failed`, with the reason.
    """
    module, _, attribute = path.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # an import runs a user's module, which may raise anything
        raise JobFailed(FailureCause.IMPORT_FAILED, f"{field} {path} cannot be imported: {describe(error)}") from error
    if not callable(found):
        raise JobFailed(FailureCause.IMPORT_FAILED, f"{field} {path} is not a function but a {type(found).__name__}")
    return found


def load_workload(path: str, config: Mapping[str, Any]) -> Workload:
    """Import a workload's function and call it; what the function itself raises is passed on as it is.

    Raises:
        JobFailed: `import-failed`: it cannot be imported, or what it returns is not a `Workload`.
    """
    made = load_object(path, "workload")(dict(config))
    if not isinstance(made, Workload):
        message = f"workload {path} must return a jobs.workload.Workload; it returned a {type(made).__name__}"
        raise JobFailed(FailureCause.IMPORT_FAILED, message)
    return made


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise JobFailed(FailureCause.USER_CODE_FAILED, message)
