"""A workload small enough for unit tests, and collections of what a loop reports."""

import shutil
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import TensorDataset

from jobs.workload import Workload
from platform_app.specs import TrainSpec


def make(config):
    """Fit a line through points, with dropout so that randomness matters."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 1))
    inputs = torch.randn(23, 3, generator=torch.Generator().manual_seed(1))
    data = TensorDataset(inputs, inputs.sum(dim=1, keepdim=True))
    optimizer = torch.optim.Adam(model.parameters(), lr=config.get("lr", 0.01))
    return Workload(
        model=model,
        train_dataset=data,
        eval_dataset=data,
        optimizer=optimizer,
        loss=lambda model, batch: nn.functional.mse_loss(model(batch[0]), batch[1]),
        evaluate=lambda model, batch: {"error": (model(batch[0]) - batch[1]).abs().mean()},
        example_input=inputs[:2],
        lr_scheduler=torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.9),
    )


def not_a_workload(config):
    """Forget to build one."""
    return {"model": None}


def spec(**changes):
    fields = {"name": "tiny", "workload": "tests.unit.jobs.tiny:make", "epochs": 4, "batch_size": 5}
    return TrainSpec.model_validate(fields | changes)


class Reports:
    """Takes what a loop reports, and keeps its checkpoints."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.metrics = []
        self.checkpoints = []

    def __call__(self, metrics, folder):
        self.metrics.append(dict(metrics))
        if folder:
            kept = self.folder / f"checkpoint-{len(self.metrics)}"
            shutil.copytree(folder, kept)
            self.checkpoints.append(kept)
