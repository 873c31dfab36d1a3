"""Digits, with steps long enough that something can happen between them."""

import dataclasses
import time

from jobs.workloads import digits


def make(config):
    """Build the workload."""
    workload = digits.make(config)

    def loss(model, batch):
        time.sleep(0.05)
        return workload.loss(model, batch)

    return dataclasses.replace(workload, loss=loss)
