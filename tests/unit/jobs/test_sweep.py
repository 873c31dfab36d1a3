"""What a sweep asks of Tune, and how its state is kept."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from ray.tune.schedulers import (
    ASHAScheduler,
    FIFOScheduler,
    HyperBandScheduler,
    MedianStoppingRule,
    PopulationBasedTraining,
)

from jobs.search import trial_scheduler, within
from jobs.sweep_state import StateFile
from platform_app.specs import SweepSpec

SPACE = {
    "lr": {"type": "loguniform", "low": 0.001, "high": 0.1},
    "layers": {"type": "int", "low": 1, "high": 8},
    "act": {"type": "choice", "values": ["relu", "gelu"]},
}
SIDE_BY_SIDE = {"algorithm": "random", "num_samples": 4, "max_concurrent": 4}


def sweep(**changes):
    return SweepSpec.model_validate({"kind": "sweep", "name": "s", "workload": "a:b", "space": SPACE} | changes)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("asha", ASHAScheduler),
        ("hyperband", HyperBandScheduler),
        ("median", MedianStoppingRule),
        ("pbt", PopulationBasedTraining),
        ("fifo", FIFOScheduler),
    ],
)
def test_every_scheduler_is_tunes_own(kind, expected):
    assert type(trial_scheduler(sweep(scheduler={"type": kind}, search=SIDE_BY_SIDE))) is expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"search": {"num_samples": 4}}, "search.algorithm: random"),
        ({"search": SIDE_BY_SIDE, "space": {"lr": {"type": "grid", "values": [1, 2]}}}, "no grid in space"),
        ({"search": SIDE_BY_SIDE | {"num_samples": 1}}, "at least 2"),
        ({"search": SIDE_BY_SIDE | {"num_samples": 5}}, "max_concurrent must be at least 5; got 4"),
        ({"search": SIDE_BY_SIDE, "checkpointing": {"every_epochs": 2}}, "every_epochs must be 1; got 2"),
    ],
)
def test_a_population_that_cannot_work_is_refused_with_what_would(changes, message):
    with pytest.raises(ValidationError, match=message):
        sweep(scheduler={"type": "pbt"}, **changes)


def test_trials_that_wait_for_each_other_must_be_allowed_to_run_at_one_time():
    with pytest.raises(ValidationError, match="the trials of hyperband wait for each other"):
        sweep(scheduler={"type": "hyperband"}, search={"num_samples": 8, "max_concurrent": 4})


@given(lr=st.floats(0, 10), layers=st.integers(-5, 50))
def test_a_populations_changes_stay_within_the_space(lr, layers):
    point = within(sweep().space)({"lr": lr, "layers": layers, "act": "relu", "other": 1})
    assert 0.001 <= point["lr"] <= 0.1
    assert 1 <= point["layers"] <= 8
    assert isinstance(point["layers"], int)
    assert (point["act"], point["other"]) == ("relu", 1)


def test_without_a_state_there_is_nothing_to_go_on_from(tmp_path):
    assert not StateFile(tmp_path / "sweep").exists()


def test_a_state_is_laid_out_as_it_was_written_last_and_nothing_beside_it(tmp_path):
    state = StateFile(tmp_path)
    state.write({"experiment_state-1.json": b"old", "scheduler": b"s0"})
    state.write({"experiment_state-1.json": b"new", "searcher-state-1.pkl": b"search", "scheduler": b"s1"})
    for name in ("experiment_state-2.json", "search_gen_state-2.json", "callback-states-2.pkl"):
        (tmp_path / name).write_bytes(b"half")
    (tmp_path / "attempt-1.json").write_text("{}")
    assert state.lay_out() == {"scheduler": b"s1"}
    assert (tmp_path / "experiment_state-1.json").read_bytes() == b"new"
    kept = {"attempt-1.json", "experiment_state-1.json", "searcher-state-1.pkl", "sweep-state.pickle"}
    assert {path.name for path in tmp_path.iterdir()} == kept


def test_a_state_that_cannot_be_written_leaves_the_one_before(tmp_path):
    state = StateFile(tmp_path)
    state.write({"scheduler": b"s0"})
    with pytest.raises(TypeError):
        state.write({"scheduler": (each for each in ())})
    assert state.lay_out() == {"scheduler": b"s0"}
    assert [path.name for path in tmp_path.iterdir()] == ["sweep-state.pickle"]
