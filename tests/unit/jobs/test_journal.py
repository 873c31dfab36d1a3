"""Metrics that go from a worker to the driver by a file."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.journal import Journal, JournalReader


class Told:
    """What a reader has handed on."""

    def __init__(self, run_dir):
        self.points = []
        self.reader = JournalReader(run_dir, lambda metrics, step, at: self.points.append((metrics, step, at)))


@given(parts=st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.booleans()), max_size=20))
def test_every_point_is_handed_on_once_and_in_order_however_writing_and_reading_take_turns(tmp_path_factory, parts):
    folder = tmp_path_factory.mktemp("run")
    journal, told, step = Journal(folder, "a", clock=lambda: 1.5), Told(folder), 0
    for number, is_written, is_read in parts:
        for _ in range(number):
            step += 1
            journal.log({"loss": step / 2}, step)
        if is_written:
            journal.write()
        if is_read:
            told.reader.read()
    journal.write()
    told.reader.read()
    assert told.points == [({"loss": n / 2}, n, 1500) for n in range(1, step + 1)]


def test_a_driver_that_takes_over_hands_on_everything_of_all_generations_once_more(tmp_path):
    for generation in ("b", "a"):
        journal = Journal(tmp_path, generation, clock=lambda: 0)
        journal.log({"loss": 1.0}, 1)
        journal.write()
    for told in (Told(tmp_path), Told(tmp_path)):
        told.reader.read()
        assert len(told.points) == 2


def test_a_line_that_is_not_whole_yet_is_read_when_it_is(tmp_path):
    journal, told = Journal(tmp_path, "a", clock=lambda: 0), Told(tmp_path)
    journal.log({"loss": 1.0}, 1)
    journal.write()
    [path] = tmp_path.glob("metrics-*")
    line = path.read_bytes()
    path.write_bytes(line[:10])
    told.reader.read()
    assert told.points == []
    path.write_bytes(line)
    told.reader.read()
    assert told.points == [({"loss": 1.0}, 1, 0)]


def test_a_line_that_a_full_disk_cut_off_costs_itself_and_the_next_and_no_more(tmp_path):
    journal, told = Journal(tmp_path, "a", clock=lambda: 0), Told(tmp_path)
    journal.log({"loss": 1.0}, 1)
    journal.write()
    [path] = tmp_path.glob("metrics-*")
    path.write_bytes(path.read_bytes()[:-5])
    for step in (2, 3):
        journal.log({"loss": 1.0}, step)
        journal.write()
    told.reader.read()
    assert [step for _, step, _ in told.points] == [3]


def test_what_cannot_be_written_now_is_written_the_next_time(tmp_path):
    (tmp_path / "run").touch()  # where the folder should be
    journal, told = Journal(tmp_path / "run", "a", clock=lambda: 0), Told(tmp_path / "run")
    journal.log({"loss": 1.0}, 1)
    with pytest.raises(OSError, match="File exists"):
        journal.write()
    (tmp_path / "run").unlink()
    journal.write()
    told.reader.read()
    assert len(told.points) == 1


def test_numbers_that_are_none_go_along(tmp_path):
    journal, told = Journal(tmp_path, "a", clock=lambda: 0), Told(tmp_path)
    journal.log({"loss": math.nan, "norm": math.inf}, 1)
    journal.write()
    told.reader.read()
    [(metrics, _, _)] = told.points
    assert math.isnan(metrics["loss"])
    assert metrics["norm"] == math.inf


def test_what_has_arrived_is_removed_and_nothing_else(tmp_path):
    (tmp_path / "pulse.json").touch()
    journal, told = Journal(tmp_path, "a", clock=lambda: 0), Told(tmp_path)
    journal.log({"loss": 1.0}, 1)
    journal.write()
    told.reader.read()
    told.reader.forget()
    assert [path.name for path in tmp_path.iterdir()] == ["pulse.json"]
