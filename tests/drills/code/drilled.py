"""A workload that counts in its own weights how often each sample was learnt from.

The parameter `seen` has one number for each sample. The loss adds the mean of those of the batch, and plain SGD with a
learning rate of the batch size takes exactly 1 from each: after E epochs every number is -E, if and only if the final
weights were made of every sample of every epoch exactly once, on whatever workers and over whatever interruptions.
"""

import time

import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import Subset, TensorDataset

from jobs.workload import Workload
from jobs.workloads.digits import test_set

BATCH = 64
"""A power of two: its reciprocal, and so the count, is exact in floating point where workers have equal shares."""
SAMPLES = 5 * BATCH


class Counted(nn.Module):
    """A classifier of digits, and the count."""

    def __init__(self, samples: int) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 10))
        self.seen = nn.Parameter(torch.zeros(samples))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Score images, (samples, 64), for each digit, (samples, 10)."""
        return self.net(images)


def make(config: dict) -> Workload:
    """Build it.

    Args:
        config: `steps`, of an epoch; `step_seconds`, that a step takes at least; and `sample_seconds`, that it takes
            longer for each sample of a worker's share.
    """
    size = int(config.get("steps", SAMPLES // BATCH)) * BATCH
    model = Counted(size)
    images, digits = (torch.from_numpy(array)[torch.arange(size) % len(array)] for array in test_set())
    samples = TensorDataset(images, digits, torch.arange(size))

    def loss(wrapped: nn.Module, batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
        if wrapped.training:
            time.sleep(config.get("step_seconds", 0.05) + config.get("sample_seconds", 0) * len(batch[0]))
        seen = getattr(wrapped, "module", wrapped).seen
        return functional.cross_entropy(wrapped(batch[0]), batch[1]) + seen[batch[2]].mean()

    return Workload(
        model=model,
        train_dataset=samples,
        eval_dataset=Subset(samples, range(SAMPLES)),
        optimizer=torch.optim.SGD(
            [{"params": model.net.parameters(), "lr": 0.05, "momentum": 0.9}, {"params": [model.seen], "lr": BATCH}]
        ),
        loss=loss,
        evaluate=lambda model, batch: {},
        example_input=images[:2],
    )
