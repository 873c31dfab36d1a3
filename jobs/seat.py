"""A worker's place among the workers of its run: its device, and what it does together with the others."""

import random
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import FSDPModule
from torch.nn.parallel import DistributedDataParallel

EXCHANGE_TIMEOUT = timedelta(minutes=10)
"""The slowest worker may be so long behind the fastest in writing a checkpoint."""


@dataclass(frozen=True)
class Seat:
    """One of `world_size` workers. Alone, it needs no process group; with others, torch's default one is there."""

    device: torch.device
    rank: int = 0
    world_size: int = 1

    def parallel(self, model: nn.Module) -> nn.Module:
        """Wrap a model on this seat's device so that gradients are averaged over all workers."""
        if self.world_size == 1 or isinstance(model, FSDPModule):
            return model
        return DistributedDataParallel(model, device_ids=[self.device] if self.device.type == "cuda" else None)

    def computing(self, model: nn.Module, is_last: bool) -> AbstractContextManager[None]:
        """Compute the gradients of one micro-batch in here, forward and backward; only the last ones are averaged.

        Sharded gradients are averaged each time: in between, they would not fit into memory.
        """
        if is_last or not isinstance(model, DistributedDataParallel):
            return nullcontext()
        return model.no_sync()

    def sum(self, values: Sequence[float]) -> list[float]:
        """Sum numbers over all workers; each gives as many, in the same order."""
        return self._reduce(values, dist.ReduceOp.SUM)

    def max(self, values: Sequence[float]) -> list[float]:
        """Give the greatest of each number over all workers; each gives as many, in the same order."""
        return self._reduce(values, dist.ReduceOp.MAX)

    def gather(self, value: float) -> list[float]:
        """Give every worker's number, by rank."""
        return self.sum([value if rank == self.rank else 0.0 for rank in range(self.world_size)])

    def exchange(self) -> Callable[[Any], list[Any]]:
        """Open a way to tell each other plain values beside the training, from another thread.

        Every worker calls this at the same time, and then calls what it gives equally often: with what it tells, to
        get what all of them tell, by rank.
        """
        group = dist.new_group(backend="gloo", timeout=EXCHANGE_TIMEOUT)

        def gather(value: Any) -> list[Any]:
            told: list[Any] = [None] * self.world_size
            dist.all_gather_object(told, value, group=group)
            return told

        return gather

    def place(self, batch: Any) -> Any:
        """Move a batch to this seat's device: a tensor, or tuples, lists and dicts of them."""
        if isinstance(batch, torch.Tensor):
            return batch.to(self.device, non_blocking=True)
        if isinstance(batch, dict):
            return {name: self.place(part) for name, part in batch.items()}
        if isinstance(batch, (list, tuple)):
            return [self.place(part) for part in batch]
        return batch

    def _reduce(self, values: Sequence[float], operation: Any) -> list[float]:
        if self.world_size == 1:
            return list(values)
        reduced = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(reduced, operation)
        return reduced.tolist()


def seed_generators(seed: int, device: torch.device) -> None:
    """Start the random generators of Python, NumPy and torch anew.

    Args:
        seed: from 0, below 2**32.
        device: whose generator torch uses, beside the CPU's.
    """
    random.seed(seed)
    np.random.seed(seed)
    # torch.manual_seed looks for every kind of device, which takes as long as a short step.
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
