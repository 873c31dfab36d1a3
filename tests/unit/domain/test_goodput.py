"""Goodput: useful time over wall time."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_app.domain.goodput import goodput, share
from platform_app.specs import AttemptReport, AttemptStatus, Interruption, Progress

NOON = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)

walls = st.floats(1, 1e7)
moments = st.floats(0, 1e4)
lists = st.lists(st.tuples(moments, moments), max_size=8)


def cost(seconds=0.0, lost_seconds=0.0):
    told = {"cause": "notice", "num_workers": 2, "steps_lost": 0, "gpu_seconds_lost": 0}
    return Interruption(at=NOON, seconds=seconds, lost_seconds=lost_seconds, **told)


def report(began, at, *interruptions):
    """An attempt that took its first and its newest step so many seconds after noon; None: it took none."""
    began_at = None if began is None else NOON + timedelta(seconds=began)
    progress = Progress(done=1, total=9, unit="steps", began_at=began_at, at=NOON + timedelta(seconds=at))
    return AttemptReport(status=AttemptStatus.RUNNING, progress=progress, interruptions=interruptions)


@given(walls, lists, moments)
def test_it_is_between_0_and_1(wall, costs, out_of_stock):
    assert 0 <= share(wall, [cost(*each) for each in costs], out_of_stock) <= 1


@given(walls)
def test_it_is_1_without_interruptions(wall):
    assert share(wall, []) == 1


@given(walls, st.floats(0.01, 0.99))
def test_lost_steps_lower_it_as_much_as_a_wait_of_the_same_length(wall, part):
    lost = share(wall, [cost(lost_seconds=part * wall)])
    assert lost == pytest.approx(1 - part)
    assert share(wall, [cost(seconds=part * wall)]) == lost


@given(walls, lists, moments, moments)
def test_another_interruption_never_raises_it(wall, costs, seconds, lost_seconds):
    before = [cost(*each) for each in costs]
    assert share(wall, [*before, cost(seconds, lost_seconds)]) <= share(wall, before)


@given(walls, lists, moments)
def test_time_out_of_stock_never_lowers_it(wall, costs, out_of_stock):
    interruptions = [cost(*each) for each in costs]
    assert share(wall, interruptions, out_of_stock) >= share(wall, interruptions)


def test_a_wait_for_stock_alone_leaves_it_at_1():
    assert share(100, [cost(seconds=40)], out_of_stock_seconds=40) == 1


def test_it_is_reckoned_over_all_attempts():
    reports = [report(0, 50, cost(seconds=5, lost_seconds=5)), report(70, 100, cost(seconds=20))]
    assert goodput(reports) == pytest.approx(0.7)
    assert goodput(reports, out_of_stock_seconds=20) == pytest.approx(70 / 80)


def test_an_attempt_that_took_no_step_does_not_change_from_when_it_is_reckoned():
    assert goodput([report(None, 10), report(50, 150, cost(seconds=10))]) == pytest.approx(0.9)


def test_before_the_second_step_there_is_none():
    assert goodput([]) is None
    assert goodput([AttemptReport(status=AttemptStatus.RUNNING)]) is None
    assert goodput([report(None, 10)]) is None
    assert goodput([report(10, 10)]) is None
