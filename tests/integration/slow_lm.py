"""Language models with slow steps, so that there is time to interrupt them."""

import dataclasses
import time

from jobs.workloads import causal_lm


def make(config):
    """Build the small language model; each micro-batch takes at least 40 ms."""
    workload = causal_lm.make(config)

    def slow(model, batch):
        time.sleep(0.04)
        return workload.loss(model, batch)

    return dataclasses.replace(workload, loss=slow)
