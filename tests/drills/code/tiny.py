"""A workload of next to nothing, for tests of what happens around the training: an epoch does what the test says."""

from collections.abc import Callable
from typing import Any

import torch
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import TensorDataset

from jobs.workload import Workload


class AfterEpoch(LRScheduler):
    """Leaves the learning rate as it is, and calls a function with it whenever an epoch has been trained."""

    def __init__(self, optimizer: torch.optim.Optimizer, act: Callable[[int, float], None]) -> None:
        self._act = act
        super().__init__(optimizer)

    def get_lr(self) -> list[float]:
        """Leave the learning rate as it is."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def step(self, epoch: int | None = None) -> None:
        """End an epoch; the first call is the beginning of the first."""
        super().step(epoch)
        if self.last_epoch:
            self._act(self.last_epoch, self.get_lr()[0])

    def state_dict(self) -> dict[str, Any]:
        """Give what goes into a checkpoint, which the function cannot."""
        return {name: value for name, value in super().state_dict().items() if name != "_act"}


def tiny(score: float, after_epoch: Callable[[int, float], None], lr: float = 0.1) -> Workload:
    """Build it.

    Args:
        score: what every evaluation gives as `score`.
        after_epoch: is called with the epochs done, from 1, and the learning rate.
        lr: the learning rate, which is the model's weight too.
    """
    model, samples = torch.nn.Linear(1, 1), TensorDataset(torch.ones(4, 1))
    with torch.no_grad():
        model.weight.fill_(lr)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    return Workload(
        model=model,
        train_dataset=samples,
        eval_dataset=samples,
        optimizer=optimizer,
        loss=lambda module, batch: module(batch[0]).pow(2).mean(),
        evaluate=lambda module, batch: {"score": score},
        example_input=torch.zeros(1, 1),
        lr_scheduler=AfterEpoch(optimizer, after_epoch),
    )
