"""The drills' workload, with a ledger: a line for each step, that whoever kills can read while it runs.

A step's number is read from the weights, which count their samples: it says how many steps the weights are made of,
whatever the program that trains them believes.
"""

import time
from dataclasses import replace
from pathlib import Path

import torch
from drilled import BATCH
from drilled import make as drilled
from torch import distributed, nn

from jobs.workload import Workload


def make(config: dict) -> Workload:
    """Build it; `ledger` is the folder in which each process that is first of its group has a file."""
    workload = drilled(config)
    lines = None

    def loss(wrapped: nn.Module, batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
        nonlocal lines
        value = workload.loss(wrapped, batch)
        if wrapped.training and distributed.get_rank() == 0:
            if lines is None:
                lines = Path(config["ledger"]).joinpath(f"{time.time():f}").open("w", buffering=1)
            done = -getattr(wrapped, "module", wrapped).seen.sum().item() / BATCH
            lines.write(f"{time.time():f} {round(done) + 1}\n")
        return value

    return replace(workload, loss=loss)
