"""A machine's clock that is set forward or back: no job is lost or run twice, nothing waits for the old time."""

import pytest

from platform_app.domain.job import JobState
from platform_app.ports import RayJobStatus
from tests.control_plane import train_spec

HOUR = 3600.0


@pytest.mark.parametrize("jump", [-HOUR, HOUR, -24 * HOUR, 24 * HOUR])
def test_a_job_goes_from_the_queue_to_its_end_through_jumps_at_every_step(plane, jump):
    job_id = plane.submit()
    plane.clock.advance(jump)
    plane.tick()
    plane.clock.advance(jump)
    plane.runner.begin(f"{job_id}-1")
    plane.tick()
    assert plane.job(job_id).state is JobState.RUNNING
    plane.clock.advance(jump)
    plane.end(job_id)
    assert plane.job(job_id).state is JobState.SUCCEEDED
    assert list(plane.runner.requests) == [f"{job_id}-1"]


def test_the_lease_of_one_that_died_before_the_jump_keeps_nobody_waiting(plane):
    plane.tick()
    plane.clock.advance(-HOUR)
    plane.reconciler = plane.new_reconciler("second")
    job_id = plane.submit()
    plane.tick()
    assert plane.job(job_id).state is JobState.PENDING


def test_one_whose_clock_was_set_back_does_not_act_beside_its_successor(plane):
    plane.tick()
    plane.clock.advance(-HOUR)
    plane.new_reconciler("second").tick()
    job_id = plane.submit()
    plane.tick()
    assert plane.job(job_id).state is JobState.QUEUED


def test_a_submission_that_did_not_go_through_rests_for_seconds_and_not_until_the_old_time(plane):
    plane.runner.put_off = "a quota"
    job_id = plane.submit()
    plane.tick()
    assert "a quota" in plane.job(job_id).message
    plane.runner.put_off = None
    plane.clock.advance(-HOUR)
    plane.tick()
    assert list(plane.runner.requests) == [f"{job_id}-1"]


def test_one_that_is_to_leave_has_its_patience_counted_anew(plane):
    running = plane.running(resources={"num_workers": 6})
    plane.submit(resources={"num_workers": 6}, tier="training-critical")
    plane.tick()
    plane.report(running, 1, status="running", progress={"done": 1, "total": 9, "unit": "steps"})
    plane.tick()
    plane.clock.advance(-HOUR)
    plane.tick()
    assert plane.runner.stops == []
    for _ in range(4):
        plane.tick(60)
    assert f"{running}-1" in plane.runner.stops
    plane.end(running, RayJobStatus.STOPPED)
    assert plane.job(running).state is JobState.QUEUED


def test_an_end_whose_log_cannot_be_read_waits_no_longer_for_a_jump(plane):
    job_id = plane.running()
    plane.runner.log_power.away = True
    plane.end(job_id)
    plane.clock.advance(-HOUR)
    plane.tick()
    plane.tick(61)
    assert plane.job(job_id).state is JobState.SUCCEEDED


@pytest.mark.parametrize("jump", [-HOUR, HOUR])
def test_why_a_job_waits_and_when_it_would_start_are_answered_all_the_same(plane, jump):
    running, began = plane.running(resources={"num_workers": 6}), plane.clock.now()
    plane.clock.advance(60)
    progress = {"done": 5, "total": 9, "unit": "steps", "began_at": began, "at": plane.clock.now()}
    plane.report(running, 1, status="running", progress=progress)
    waiting = plane.submit(resources={"num_workers": 6})
    plane.clock.advance(jump)
    plane.tick()
    explained = plane.explain.explain(waiting)
    planned = plane.jobs.plan(train_spec(resources={"num_workers": 6}))
    assert explained.cause == "groups-full"
    assert all(wait.at_least_seconds >= 0 for wait in (explained.wait, planned.wait) if wait)
