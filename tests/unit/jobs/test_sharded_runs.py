"""Runs of a sharded model: each worker writes its shards, and any number of workers goes on from them."""

import re
import shutil
import socket

import pytest
import torch
import torch.multiprocessing as mp

from jobs.checkpoints import Checkpoints
from jobs.failure import JobFailed
from jobs.sharding import placed
from jobs.state import load_model_weights, read_state
from platform_app.specs import Objective
from tests.unit.jobs import sharded, tiny

pytestmark = [pytest.mark.ray, pytest.mark.timeout(400)]  # for the time that it takes

SPEC = tiny.spec(epochs=2, batch_size=6, checkpointing={"every_steps": 3}, resources={"num_workers": [2, 3]})


def of_run(folder):
    return Checkpoints(folder, Objective(metric="loss", mode="min"), 100)


def run(folder, *parts, spec=SPEC, make=sharded.make, trouble=None):
    """Run in parts, each of so many workers and up to a step, and give the last checkpoint's state, put together."""
    folder.mkdir(exist_ok=True)
    for world_size, leave_after in parts:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        mp.spawn(sharded.work, (world_size, port, spec, make, leave_after, folder, trouble), nprocs=world_size)
    return placed(read_state(of_run(folder).newest_whole()[0].path), mesh=None)


def tensors(state):
    """List the tensors of a state by their path."""
    if isinstance(state, torch.Tensor):
        return {"": state}
    parts = state.items() if isinstance(state, dict) else enumerate(state) if isinstance(state, (list, tuple)) else ()
    return {f"{name}.{path}": tensor for name, part in parts for path, tensor in tensors(part).items()}


def equal(one, other):
    one, other = tensors(one), tensors(other)
    return one.keys() == other.keys() and all(torch.equal(one[path], other[path]) for path in one)


def assert_close(one, other):
    for path, tensor in tensors(other).items():
        assert torch.allclose(tensors(one)[path], tensor, atol=1e-4), path


@pytest.fixture(scope="module")
def calm(tmp_path_factory):
    """The folder of a run that nothing happened to."""
    return tmp_path_factory.mktemp("calm")


@pytest.fixture(scope="module")
def undisturbed(calm):
    """The state that it ended with."""
    return run(calm, (2, None))


def test_a_sharded_run_that_leaves_in_the_middle_of_an_epoch_goes_on_bit_for_bit(tmp_path, undisturbed):
    parts = run(tmp_path, (2, 2), (2, None))
    assert parts["step"] == undisturbed["step"] == 8
    assert equal(parts, undisturbed)
    files = sorted(path.name for path in of_run(tmp_path).path_of(8).iterdir())
    assert files == ["manifest.json", "shard-00000.pt", "shard-00001.pt"]


def test_a_sharded_run_is_one_of_the_whole_model_from_whose_checkpoints_it_does_not_go_on(tmp_path, undisturbed):
    assert_close(run(tmp_path, (2, None), make=sharded.make_whole)["model"], undisturbed["model"])
    with pytest.raises(mp.ProcessRaisedException, match="step-00000008 is of a whole model, which parallel=fsdp") as it:
        run(tmp_path, (2, None))
    assert JobFailed.__name__ in str(it.value)


def test_another_number_of_workers_goes_on_from_the_shards(tmp_path):
    steady = run(tmp_path / "calm", (2, None), make=sharded.make_steady)
    assert_close(run(tmp_path / "resized", (2, 2), (3, None), make=sharded.make_steady), steady)


def test_a_checkpoint_of_which_one_worker_cannot_write_its_part_fails_alone(tmp_path, undisturbed):
    assert equal(run(tmp_path, (2, None), trouble=("full", 3, 1)), undisturbed)
    assert [one.manifest.step for one in of_run(tmp_path).all()] == [4, 6, 8]
    for rank in (0, 1):
        warning = (tmp_path / f"warnings-{rank}").read_text()
        assert re.match(r"the checkpoint of step 3 could not .* worker 1: OSError: .*No space left", warning)


def test_a_worker_that_is_killed_while_it_writes_leaves_the_checkpoint_before(tmp_path, undisturbed):
    with pytest.raises((mp.ProcessExitedException, mp.ProcessRaisedException)):
        run(tmp_path, (2, None), trouble=("killed", 6, 1))
    assert [one.manifest.step for one in of_run(tmp_path).all()] == [3, 4]
    assert equal(run(tmp_path, (2, None)), undisturbed)
    assert not list(tmp_path.glob(".aside-*"))


def test_a_missing_shard_makes_the_checkpoint_give_way_to_the_one_before(tmp_path, calm, undisturbed):
    folder = shutil.copytree(calm, tmp_path / "copy")
    (of_run(folder).path_of(8) / "shard-00001.pt").unlink()
    newest, warnings = of_run(folder).newest_whole()
    assert newest.manifest.step == 6
    assert len(warnings) == 1
    assert equal(run(folder, (2, None)), undisturbed)


def test_the_whole_model_is_put_together_where_it_is_published(calm, undisturbed):
    workload = sharded.make({})
    load_model_weights(of_run(calm).path_of(8), workload)
    assert equal(dict(workload.model.state_dict()), undisturbed["model"])
