"""A workload that leaves a file for each epoch that it has trained, named for the trial's point and the epoch.

What was trained, how often and when is read from these files alone, and from nothing that the platform says of itself.
"""

import secrets
import time
from pathlib import Path

import torch
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import TensorDataset

from jobs.workload import Workload


class Tally(LRScheduler):
    """Takes its time over an epoch, and then leaves a file."""

    def __init__(self, optimizer: torch.optim.Optimizer, folder: Path, point: float, seconds: float) -> None:
        self._folder, self._point, self._seconds = folder, point, seconds
        super().__init__(optimizer)

    def get_lr(self) -> list[float]:
        """Leave the learning rate as it is."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def step(self, epoch: int | None = None) -> None:
        """End an epoch."""
        super().step(epoch)
        if self.last_epoch:
            time.sleep(self._seconds)
            (self._folder / f"{self._point!r} {self.last_epoch} {secrets.token_hex(4)}").touch()


def make(config: dict) -> Workload:
    """Build it.

    Args:
        config: `x`, the trial's point, which is its score too; `folder`, for the files; and `seconds`, of an epoch.
    """
    model, samples = torch.nn.Linear(1, 1), TensorDataset(torch.ones(4, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return Workload(
        model=model,
        train_dataset=samples,
        eval_dataset=samples,
        optimizer=optimizer,
        loss=lambda model, batch: model(batch[0]).pow(2).mean(),
        evaluate=lambda model, batch: {"score": config["x"]},
        example_input=torch.zeros(1, 1),
        lr_scheduler=Tally(optimizer, Path(config["folder"]), config["x"], config["seconds"]),
    )
