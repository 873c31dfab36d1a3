"""Jobs that may run for so long and no longer."""

import pytest

from platform_app.domain.job import JobState, Reason
from platform_app.errors import InvalidRequest
from platform_app.ports import RayJobStatus
from platform_app.specs import SweepSpec, TrainSpec
from tests.control_plane import command_spec, train_spec

CRITICAL = "training-critical"


def test_a_job_that_runs_for_longer_than_it_may_is_stopped_and_fails_with_the_reason(plane):
    job = plane.running(deadline_seconds=60)
    plane.tick(50)
    assert plane.job(job).state is JobState.RUNNING
    plane.tick(10)
    assert plane.job(job).state is JobState.STOPPING
    plane.end(job, RayJobStatus.STOPPED)
    ended = plane.job(job)
    assert (ended.state, ended.reason) == (JobState.FAILED, Reason.DEADLINE_EXCEEDED)
    assert ended.message == "stopped, for it has run for its deadline_seconds of 60"
    assert "more deadline_seconds" in plane.explain.explain(job).unblock


def test_one_that_ends_by_itself_meanwhile_has_succeeded(plane):
    job = plane.running(deadline_seconds=60)
    plane.tick(60)
    plane.end(job)
    assert plane.job(job).state is JobState.SUCCEEDED


def test_a_cluster_that_is_lost_meanwhile_changes_no_reason(plane):
    job = plane.running(deadline_seconds=60)
    plane.tick(60)
    plane.runner.lose_all()
    plane.tick()
    assert plane.job(job).reason is Reason.DEADLINE_EXCEEDED


def test_all_its_attempts_count_together_and_its_waits_do_not(plane):
    waits = plane.running(deadline_seconds=60, resources={"num_workers": 6})
    plane.tick(40)
    plane.runner.lose_all()
    other = plane.submit(tier=CRITICAL, resources={"num_workers": 6})
    plane.tick()
    plane.runner.begin(f"{other}-1")
    plane.tick(1000)
    plane.end(other)
    plane.tick()
    plane.runner.begin(f"{waits}-2")
    plane.tick()
    assert plane.job(waits).state is JobState.RUNNING
    plane.tick(10)
    assert plane.job(waits).state is JobState.RUNNING
    plane.tick(10)
    assert plane.job(waits).state is JobState.STOPPING


def test_a_clock_that_is_set_back_stops_nobody(plane):
    job = plane.running(deadline_seconds=60)
    plane.tick(-3600)
    assert plane.job(job).state is JobState.RUNNING


@pytest.mark.parametrize("seconds", [0, -1, float("inf"), "soon"])
def test_a_deadline_is_a_number_of_seconds_above_zero(plane, seconds):
    with pytest.raises((InvalidRequest, ValueError), match="deadline_seconds"):
        TrainSpec(name="j", workload="a:b", deadline_seconds=seconds)


def test_every_kind_of_job_may_have_one():
    space = {"lr": {"type": "uniform", "low": 0, "high": 1}}
    assert SweepSpec(kind="sweep", name="s", workload="a:b", space=space, deadline_seconds=5).deadline_seconds == 5
    assert command_spec(deadline_seconds=5).deadline_seconds == 5


def test_a_plan_gives_the_price_of_the_longest_that_a_job_may_run(plane):
    plan = plane.jobs.plan(train_spec(deadline_seconds=7200))
    assert (plan.hours, plan.price) == (2, 2 * plan.price_per_hour)
