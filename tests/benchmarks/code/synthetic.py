"""A model and data of some weight for timing steps; the same for Slipway's loop and for plain `torchrun`."""

import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import TensorDataset

from jobs.workload import Workload

FEATURES, CLASSES, BATCH = 256, 10, 256


def model() -> nn.Module:
    """Build the model, the same every time."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(FEATURES, 1024), nn.ReLU(), nn.Linear(1024, 1024), nn.ReLU(), nn.Linear(1024, CLASSES)
    )


def dataset(steps: int) -> TensorDataset:
    """Make samples for so many steps, the same every time."""
    generator = torch.Generator().manual_seed(0)
    size = steps * BATCH
    return TensorDataset(
        torch.randn(size, FEATURES, generator=generator), torch.randint(CLASSES, (size,), generator=generator)
    )


def make(config: dict) -> Workload:
    """Build the workload of `steps` steps an epoch."""
    net = model()
    return Workload(
        model=net,
        train_dataset=dataset(int(config["steps"])),
        eval_dataset=dataset(1),
        optimizer=torch.optim.SGD(net.parameters(), lr=0.01),
        loss=lambda module, batch: functional.cross_entropy(module(batch[0]), batch[1]),
        evaluate=lambda module, batch: {},
        example_input=torch.zeros(1, FEATURES),
    )
