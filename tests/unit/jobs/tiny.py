"""A workload small enough for unit tests, and collections of what a loop reports."""

import dataclasses
import random

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset, TensorDataset

from jobs.agreement import Wish
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


class Noisy(Dataset):
    """Adds noise to every sample, from three random generators."""

    def __init__(self, data):
        self._data = data

    def __len__(self):
        return len(self._data)

    def __getitem__(self, index):
        inputs, targets = self._data[index]
        return inputs + random.random() + np.random.rand() + torch.rand(3), targets


def make_noisy():
    """Fit the line through noisy points."""
    workload = make({})
    return dataclasses.replace(workload, train_dataset=Noisy(workload.train_dataset))


def not_a_workload(config):
    """Forget to build one."""
    return {"model": None}


def spec(**changes):
    fields = {"name": "tiny", "workload": "tests.unit.jobs.tiny:make", "epochs": 4, "batch_size": 5}
    return TrainSpec.model_validate(fields | changes)


class Recorder:
    """Hosts a loop: takes what it reports, keeps its checkpoints, and has it leave soon after given steps."""

    def __init__(self, leave_after=()):
        self.metrics = []
        self.saved = []
        self.ends = []
        self._leave_after = set(leave_after) - {None}
        self._step = 0

    def wish(self):
        due = {step for step in self._leave_after if step <= self._step}
        self._leave_after -= due
        return Wish.LEAVE if due else Wish.NOTHING

    def stepped(self, step):
        self._step = step

    def save(self, saved):
        self.saved.append(saved)

    def end_epoch(self, metrics, saved):
        self.metrics.append(dict(metrics))
        if saved:
            self.saved.append(saved)
            self.ends.append(metrics["epoch"])

    def log(self, metrics, step):
        pass
