"""A workload that counts in its own weights how often each sample was learnt from.

The parameter `seen` has one number for each sample. The loss adds the mean of those of the batch, and plain SGD with a
learning rate of the batch size takes exactly 1 from each: after E epochs every number is -E, if and only if the final
weights were made of every sample of every epoch exactly once, on whatever workers and over whatever interruptions.
"""

import time

import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import TensorDataset

from jobs.workload import Workload
from jobs.workloads.digits import test_set

BATCH = 64
"""A power of two: its reciprocal, and so the count, is exact in floating point."""
SAMPLES = 5 * BATCH


class Counted(nn.Module):
    """A classifier of digits, and the count."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 10))
        self.seen = nn.Parameter(torch.zeros(SAMPLES))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Score images, (samples, 64), for each digit, (samples, 10)."""
        return self.net(images)


def make(config: dict) -> Workload:
    """Build it; `step_seconds` is how long a step takes at least."""
    model = Counted()
    images, digits = (torch.from_numpy(array) for array in test_set())
    samples = TensorDataset(images[:SAMPLES], digits[:SAMPLES], torch.arange(SAMPLES))

    def loss(wrapped: nn.Module, batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
        if wrapped.training:
            time.sleep(float(config.get("step_seconds", 0.05)))
        seen = getattr(wrapped, "module", wrapped).seen
        return functional.cross_entropy(wrapped(batch[0]), batch[1]) + seen[batch[2]].mean()

    return Workload(
        model=model,
        train_dataset=samples,
        eval_dataset=samples,
        optimizer=torch.optim.SGD(
            [{"params": model.net.parameters(), "lr": 0.05, "momentum": 0.9}, {"params": [model.seen], "lr": BATCH}]
        ),
        loss=loss,
        evaluate=lambda model, batch: {},
        example_input=images[:2],
    )
