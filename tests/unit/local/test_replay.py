"""Traces: what is accepted, and what they come to at a speed."""

import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_app.errors import InvalidRequest
from platform_app.local.replay import Trace, read_trace, schedule

REAL = Path(__file__).parents[4] / "shared" / "traces"


def trace(data, gap=300.0):
    return Trace.model_validate({"metadata": {"gap_seconds": gap}, "data": data})


traces = st.builds(trace, st.lists(st.integers(0, 4), min_size=1, max_size=200), st.floats(0.1, 1e4))
speeds = st.floats(0.01, 1e5)


@given(traces, speeds)
def test_a_schedule_says_at_every_sample_what_the_trace_says(real, speed):
    changes = schedule(real, speed)
    gap = real.metadata.gap_seconds / speed
    for place, alive in enumerate(real.data):
        # In the middle of the sample's time: rounding moves no change that far.
        assert [change.alive for change in changes if change.at_seconds <= (place + 0.5) * gap][-1] == alive


@given(traces, speeds)
def test_a_schedule_begins_at_once_goes_forward_and_every_entry_changes_something(real, speed):
    changes = schedule(real, speed)
    assert changes[0].at_seconds == 0
    assert all(one.at_seconds < other.at_seconds and one.alive != other.alive for one, other in pairwise(changes))
    assert changes[-1].at_seconds < real.seconds / speed


@pytest.mark.parametrize("speed", [0, -1, float("nan"), float("inf")])
def test_a_speed_is_a_positive_number(speed):
    with pytest.raises(InvalidRequest, match="speed: must be more than 0"):
        schedule(trace([1]), speed)


@pytest.mark.parametrize(
    ("content", "field", "words"),
    [
        ("no json", "", "JSON"),
        ("[1, 2]", "", ""),
        ('{"data": [1]}', "metadata", "required"),
        ('{"metadata": {"gap_seconds": 0}, "data": [1]}', "metadata.gap_seconds", "greater than 0"),
        ('{"metadata": {"gap_seconds": 300}, "data": []}', "data", "at least 1"),
        ('{"metadata": {"gap_seconds": 300}, "data": [1, -2]}', "data.1", "0"),
        ('{"metadata": {"gap_seconds": 300}, "data": [1, 2.5]}', "data.1", ""),
        ('{"metadata": {"gap_seconds": 300}, "data": ["many"]}', "data.0", ""),
    ],
)
def test_a_file_of_another_form_is_refused_by_place(tmp_path, content, field, words):
    path = tmp_path / "trace.json"
    path.write_text(content)
    with pytest.raises(InvalidRequest) as refusal:
        read_trace(path)
    problem = refusal.value.problems[0]
    assert problem.field == field
    assert words in problem.message


def test_of_a_thousand_wrong_samples_a_few_are_told(tmp_path):
    path = tmp_path / "trace.json"
    path.write_text(json.dumps({"metadata": {"gap_seconds": 300}, "data": [-1] * 1000}))
    with pytest.raises(InvalidRequest) as refusal:
        read_trace(path)
    assert len(refusal.value.problems) == 5


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InvalidRequest, match=r"none\.json: cannot be read: No such file"):
        read_trace(tmp_path / "none.json")


@pytest.mark.skipif(not REAL.is_dir(), reason="the traces of real markets are not on this machine")
def test_every_trace_of_a_real_market_is_understood():
    files = sorted(REAL.glob("spot_*.json"))
    assert files
    for path in files:
        real = read_trace(path)
        assert len(real.data) > 1000
        assert schedule(real, 600)[-1].alive == real.data[-1]
