"""Checkpoints on storage, and the thread that writes them."""

import json
import threading

import pytest
import torch

from jobs.checkpoints import ALONE, Checkpoints
from jobs.failure import JobFailed
from jobs.saver import Saver
from jobs.state import STATE_FILE, read_state
from platform_app.specs import Objective

ACCURACY = Objective(metric="accuracy", mode="max")


def checkpoints(folder, num_to_keep=2):
    return Checkpoints(folder / "checkpoints", ACCURACY, num_to_keep)


def state(step):
    return {"step": step, "model": {"w": torch.full((100,), float(step))}}


def steps(of_run):
    return [one.manifest.step for one in of_run.all()]


def test_a_run_without_checkpoints_has_no_newest_and_no_best(tmp_path):
    assert checkpoints(tmp_path).newest_whole() == (None, [])
    assert checkpoints(tmp_path).best() is None


def test_what_was_committed_is_read_back(tmp_path):
    of_run = checkpoints(tmp_path)
    of_run.commit(7, state(7))
    newest, warnings = of_run.newest_whole()
    assert (newest.manifest.step, warnings) == (7, [])
    assert torch.equal(read_state(newest.path)["model"]["w"], state(7)["model"]["w"])


def test_the_newest_are_kept_and_the_best(tmp_path):
    of_run = checkpoints(tmp_path)
    for step, accuracy in [(5, 0.5), (10, 0.9), (12, None), (15, 0.7), (17, None), (20, 0.8)]:
        of_run.commit(step, state(step), {"accuracy": accuracy} if accuracy else None)
    assert steps(of_run) == [10, 17, 20]
    assert of_run.best().manifest.step == 10


@pytest.mark.parametrize("damage", ["flip a byte", "cut off", "delete"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path, damage):
    of_run = checkpoints(tmp_path)
    for step in (5, 10):
        of_run.commit(step, state(step), {"accuracy": step / 10})
    file = of_run.path_of(10) / STATE_FILE
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    match damage:
        case "flip a byte":
            file.write_bytes(content)
        case "cut off":
            file.write_bytes(file.read_bytes()[:-100])
        case "delete":
            file.unlink()
    newest, [warning] = of_run.newest_whole()
    assert newest.manifest.step == 5
    assert "step-00000010 is damaged" in warning
    assert of_run.best().manifest.step == 5
    of_run.commit(10, state(10))
    assert of_run.newest_whole()[0].manifest.step == 10


def test_what_a_killed_writer_left_behind_is_not_a_checkpoint(tmp_path):
    of_run = checkpoints(tmp_path)
    of_run.commit(5, state(5))
    aside = tmp_path / "checkpoints" / ".aside-x"
    aside.mkdir()
    (aside / STATE_FILE).write_bytes(b"half")
    (tmp_path / "checkpoints" / "step-00000010").mkdir()
    assert steps(of_run) == [5]
    of_run.commit(10, state(10))
    assert steps(of_run) == [5, 10]
    assert not aside.exists()


def test_the_end_of_an_epoch_replaces_the_checkpoint_of_the_same_step(tmp_path):
    of_run = checkpoints(tmp_path)
    of_run.commit(5, state(5))
    of_run.commit(5, state(5), {"accuracy": 0.5})
    assert steps(of_run) == [5]
    assert of_run.best().manifest.metrics == {"accuracy": 0.5}
    assert sorted(path.name for path in of_run.path_of(5).iterdir()) == ["manifest.json", STATE_FILE]
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000005"]


def test_a_diverged_metric_is_written_and_read(tmp_path):
    of_run = checkpoints(tmp_path)
    of_run.commit(5, state(5), {"accuracy": float("-inf")})
    assert of_run.best().manifest.metrics == {"accuracy": float("-inf")}
    json.loads((of_run.path_of(5) / "manifest.json").read_text(), parse_constant=pytest.fail)


class Disk(Checkpoints):
    """Is full at some steps."""

    def __init__(self, folder, full_at):
        super().__init__(folder, ACCURACY, 2)
        self._full_at = full_at

    def commit(self, step, state, metrics=None, writers=ALONE):
        if step in self._full_at:
            raise OSError(28, "No space left on device")
        super().commit(step, state, metrics, writers)


def test_a_checkpoint_that_cannot_be_written_fails_alone(tmp_path):
    warnings, disk = [], Disk(tmp_path, full_at={2, 3})
    with Saver(disk, max_failures=2, warn=warnings.append) as saver:
        for step in range(1, 5):
            saver.save(step, state(step))
    assert steps(disk) == [1, 4]
    assert [warning.split(" could not")[0] for warning in warnings] == [
        "the checkpoint of step 2",
        "the checkpoint of step 3",
    ]
    assert "No space left on device" in warnings[0]


def test_storage_that_refuses_folders_fails_the_checkpoint_and_not_the_training(tmp_path):
    (tmp_path / "checkpoints").write_text("a file in the way")
    warnings = []
    with Saver(checkpoints(tmp_path), max_failures=1, warn=warnings.append) as saver:
        saver.save(1, state(1))
    assert len(warnings) == 1


def test_more_failures_in_a_row_than_allowed_end_the_job_with_the_cause(tmp_path):
    disk = Disk(tmp_path, full_at={1, 2, 3, 4})
    with pytest.raises(JobFailed, match=r"max_failures: .* in a row could not be written: .*No space left"):  # noqa: PT012, SIM117
        with Saver(disk, max_failures=2, warn=lambda message: None) as saver:
            for step in range(1, 5):
                saver.save(step, state(step))


def test_a_saver_says_that_more_failed_than_may_until_one_is_written_again(tmp_path):
    disk = Disk(tmp_path, full_at={1, 2})
    committed = threading.Event()
    with Saver(disk, max_failures=1, warn=lambda message: message.count("step 2") and committed.set()) as saver:
        saver.save(1, state(1))
        saver.save(2, state(2))
        assert committed.wait(30)
        assert saver.has_failed
        saver.save(3, state(3))
    assert not saver.has_failed
    assert steps(disk) == [3]


def test_a_step_waits_for_no_checkpoint_but_the_one_before(tmp_path):
    happened, let_go = [], threading.Event()

    class Slow(Disk):
        def commit(self, step, state, metrics=None, writers=ALONE):
            assert let_go.wait(30)
            super().commit(step, state, metrics, writers)
            happened.append(f"written {step}")

    disk = Slow(tmp_path, full_at=set())
    with Saver(disk, max_failures=0, warn=lambda message: None) as saver:
        saver.save(1, state(1))
        happened.append("goes on after 1")
        threading.Timer(0.05, let_go.set).start()
        saver.save(2, state(2))
        happened.append("goes on after 2")
        assert happened[:2] == ["goes on after 1", "written 1"]
    assert steps(disk) == [1, 2]
