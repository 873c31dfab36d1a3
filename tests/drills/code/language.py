"""The small language model over bytes of Python's own source, with steps of a least duration."""

import dataclasses
import time

import torch
from torch import nn

from jobs.workload import Batch, Workload
from jobs.workloads import causal_lm

MICRO_BATCH_SECONDS = 0.02


def make(config: dict) -> Workload:
    """Build it."""
    workload = causal_lm.make(config)

    def loss(model: nn.Module, batch: Batch) -> torch.Tensor:
        if model.training:
            time.sleep(MICRO_BATCH_SECONDS)
        return workload.loss(model, batch)

    return dataclasses.replace(workload, loss=loss)
