"""A worker's place among the workers of its run: its device, and what it does together with the others."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True)
class Seat:
    """One of `world_size` workers. Alone, it needs no process group; with others, torch's default one is there."""

    device: torch.device
    rank: int = 0
    world_size: int = 1

    def parallel(self, model: nn.Module) -> nn.Module:
        """Wrap a model on this seat's device so that gradients are averaged over all workers."""
        if self.world_size == 1:
            return model
        return DistributedDataParallel(model, device_ids=[self.device] if self.device.type == "cuda" else None)

    def sum(self, values: Sequence[float]) -> list[float]:
        """Sum numbers over all workers; each gives as many, in the same order."""
        if self.world_size == 1:
            return list(values)
        totals = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(totals)
        return [float(total) for total in totals]

    def place(self, batch: Any) -> Any:
        """Move a batch to this seat's device: a tensor, or tuples, lists and dicts of them."""
        if isinstance(batch, torch.Tensor):
            return batch.to(self.device, non_blocking=True)
        if isinstance(batch, dict):
            return {name: self.place(part) for name, part in batch.items()}
        if isinstance(batch, (list, tuple)):
            return [self.place(part) for part in batch]
        return batch
