"""What every worker computes, for every size of dataset, batch and world."""

from hypothesis import given
from hypothesis import strategies as st

from jobs.sampling import micro_batches, order, seed_of, shares, steps_per_epoch

sizes = st.integers(1, 200)
batch_sizes = st.integers(1, 64)
world_sizes = st.integers(1, 9)
seeds = st.integers(0, 2**32)
epochs = st.integers(0, 1000)


@given(seeds, epochs, sizes)
def test_an_epoch_takes_every_sample_exactly_once(seed, epoch, size):
    assert sorted(order(seed, epoch, size)) == list(range(size))


@given(seeds, epochs)
def test_the_order_follows_from_seed_and_epoch_alone(seed, epoch):
    assert order(seed, epoch, 50) == order(seed, epoch, 50)
    assert order(seed, epoch, 50) != order(seed, epoch + 1, 50)


@given(sizes, batch_sizes, world_sizes)
def test_workers_share_each_batch_without_overlap_whatever_their_number(size, batch_size, world_size):
    indices = order(0, 0, size)
    alone = [share.indices for share in shares(indices, batch_size, 0, 1)]
    together = zip(*(shares(indices, batch_size, rank, world_size) for rank in range(world_size)), strict=True)
    for batch, parts in zip(alone, together, strict=True):
        assert sorted(i for part in parts for i in part.indices[: part.num_samples]) == sorted(batch)


@given(sizes, batch_sizes, world_sizes)
def test_every_worker_takes_every_step_and_always_has_a_sample(size, batch_size, world_size):
    for rank in range(world_size):
        parts = list(shares(range(size), batch_size, rank, world_size))
        assert len(parts) == steps_per_epoch(size, batch_size)
        assert all(part.indices for part in parts)


@given(sizes, batch_sizes, world_sizes)
def test_weights_average_to_one_so_that_ddp_gives_the_gradient_of_the_whole_batch(size, batch_size, world_size):
    together = zip(*(shares(range(size), batch_size, rank, world_size) for rank in range(world_size)), strict=True)
    for parts in together:
        assert abs(sum(part.weight for part in parts) / world_size - 1) < 1e-9


def test_random_seeds_differ_between_epochs_and_workers():
    assert len({seed_of(0, epoch, rank) for epoch in range(10) for rank in range(4)}) == 40


@given(sizes, st.integers(1, 16), st.integers(1, 5), world_sizes)
def test_micro_batches_share_out_each_batch_exactly_whatever_their_number(size, part_size, accumulate, world_size):
    indices, batch_size = order(0, 0, size), part_size * accumulate
    workers = [micro_batches(indices, batch_size, accumulate, rank, world_size) for rank in range(world_size)]
    taken = []
    for of_workers in zip(*workers, strict=True):
        assert len({len(parts) for parts in of_workers}) == 1
        batch = indices[len(taken) : len(taken) + batch_size]
        # What a sample adds to the gradient: its part of its worker's mean, weighted, in the mean over workers.
        counts = [(part, part.weight / len(part.indices) / world_size) for parts in of_workers for part in parts]
        counted = [(index, count) for part, count in counts if count for index in part.indices]
        assert sorted(index for index, _ in counted) == sorted(batch)
        assert all(abs(count - 1 / len(batch)) < 1e-12 for _, count in counted)
        taken += batch
    assert taken == indices


@given(sizes, batch_sizes, world_sizes)
def test_a_batch_that_is_one_micro_batch_is_shared_as_ever(size, batch_size, world_size):
    indices = order(0, 0, size)
    for rank in range(world_size):
        parts = list(micro_batches(indices, batch_size, 1, rank, world_size))
        assert parts == [[share] for share in shares(indices, batch_size, rank, world_size)]
