"""Which samples a worker takes at which step: a pure function of seed, epoch and position.

So a run that resumes goes on with the very samples that it would have seen, and a run on another number of workers
takes the same steps.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Share:
    """One worker's part of a batch."""

    indices: list[int]
    """Samples to compute; never empty, so that every worker takes part in every collective operation."""
    num_samples: int
    """How many of them count: all or, where a batch has fewer samples than there are workers, none."""
    weight: float
    """Factor of this worker's mean loss: the mean over workers of weighted gradients is the batch's gradient."""


def order(seed: int, epoch: int, size: int) -> list[int]:
    """Give the order in which an epoch takes the samples of a dataset: a permutation of `range(size)`."""
    permutation: list[int] = np.random.default_rng((seed, epoch)).permutation(size).tolist()
    return permutation


def steps_per_epoch(size: int, batch_size: int) -> int:
    """Count the batches of an epoch; the last may be smaller."""
    return -(-size // batch_size)


def seed_of(*parts: int) -> int:
    """Give a random seed that depends on each of some non-negative numbers, and on nothing else."""
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


def shares(indices: Sequence[int], batch_size: int, rank: int, world_size: int) -> Iterator[Share]:
    """Cut samples into batches of all workers together, and give one worker's part of each.

    Args:
        indices: samples in the order in which they are taken.
        batch_size: samples of one batch over all workers.
        rank: the worker, from 0.
        world_size: how many workers there are.
    """
    for start in range(0, len(indices), batch_size):
        batch = list(indices[start : start + batch_size])
        own = batch[rank::world_size]
        yield Share(own or batch, len(own), len(own) * world_size / len(batch))


def micro_batches(
    indices: Sequence[int], batch_size: int, accumulate: int, rank: int, world_size: int
) -> Iterator[list[Share]]:
    """Cut samples into batches as `shares` does, and each batch into parts that are computed one after another.

    Args:
        indices: samples in the order in which they are taken.
        batch_size: samples of one batch over all workers.
        accumulate: parts of a whole batch; divides `batch_size`. A last batch with fewer samples may have fewer.
        rank: the worker, from 0.
        world_size: how many workers there are.

    Returns:
        Iterator: for each batch one worker's shares of its parts, as many on every worker. The sum over them of the
        mean over workers of weighted gradients is the batch's gradient.
    """
    for start in range(0, len(indices), batch_size):
        batch = indices[start : start + batch_size]
        parts = shares(batch, batch_size // accumulate, rank, world_size)
        yield [Share(one.indices, one.num_samples, one.num_samples * world_size / len(batch)) for one in parts]
