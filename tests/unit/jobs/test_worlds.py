"""Runs on several workers that leave and go on with another number of them; real processes, joined by gloo."""

import socket

import pytest
import torch
import torch.multiprocessing as mp

from tests.unit.jobs import ledger, tiny


def run(spec, make, folder, *parts):
    """Run in parts, each of so many workers and up to a step, and give the last checkpoint and the last metrics."""
    (folder / "left.pt").unlink(missing_ok=True)
    for world_size, leave_after in parts:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        mp.spawn(ledger.work, (world_size, port, spec, make, leave_after, folder), nprocs=world_size)
    return torch.load(folder / "left.pt")


@pytest.mark.ray  # for the time that it takes
def test_two_workers_that_leave_in_the_middle_of_an_epoch_go_on_bit_for_bit(tmp_path):
    spec = tiny.spec()
    whole, metrics = run(spec, tiny.make, tmp_path, (2, None))
    parts, rest = run(spec, tiny.make, tmp_path, (2, 7), (2, None))
    assert all(torch.equal(whole["model"][name], parts["model"][name]) for name in whole["model"])
    assert rest == metrics[1:]


@pytest.mark.ray
def test_every_sample_is_learned_from_once_an_epoch_over_resizes_in_the_middle_of_it(tmp_path):
    spec = tiny.spec(epochs=2, batch_size=ledger.BATCH)
    whole, metrics = run(spec, ledger.make, tmp_path, (1, None))
    parts, rest = run(spec, ledger.make, tmp_path, (2, 2), (3, 6), (1, None))
    assert parts["step"] == whole["step"] == 10
    assert torch.allclose(parts["model"]["weight"], whole["model"]["weight"], atol=1e-6)
    learned = -parts["model"]["weight"].flatten()
    # The last batch of each epoch has 3 samples, the others 5.
    assert learned.sum().item() == pytest.approx(10, abs=1e-4)
    assert learned.min() >= 2 / 5 - 1e-4
    assert learned.max() <= 2 / 3 + 1e-4
    assert rest[-1]["train_loss"] == pytest.approx(metrics[-1]["train_loss"], rel=1e-5)
