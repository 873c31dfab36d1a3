"""Jobs that someone stops, whatever happens to their attempts meanwhile, and attempts that nobody wants any more."""

import pytest

from platform_app.domain.job import JobState, Reason
from platform_app.errors import StaleWrite
from platform_app.ports import RayJobStatus
from tests.fakes import Crash


def test_stopping_asks_ray_until_the_attempt_has_ended(plane):
    job_id = plane.running()
    plane.jobs.stop(job_id)
    plane.tick()
    plane.tick()
    assert plane.runner.stops == [f"{job_id}-1"] * 2
    plane.end(job_id, RayJobStatus.STOPPED)
    job = plane.job(job_id)
    assert (job.state, job.reason) == (JobState.STOPPED, Reason.STOPPED_BY_USER)


def test_an_attempt_that_is_only_pending_is_stopped_alike(plane):
    job_id = plane.submit()
    plane.tick()
    plane.jobs.stop(job_id)
    plane.tick()
    plane.end(job_id, RayJobStatus.STOPPED)
    assert plane.job(job_id).state is JobState.STOPPED


def test_a_stop_that_comes_before_the_submission_ends_the_job(plane):
    job_id = plane.submit()
    plane.runner.crash = "before"
    with pytest.raises(Crash):
        plane.tick()
    plane.jobs.stop(job_id)
    plane.restart()
    plane.tick()
    assert plane.job(job_id).state is JobState.STOPPED
    assert plane.runner.requests == {}


def test_a_job_that_succeeds_while_it_is_being_stopped_has_succeeded(plane):
    job_id = plane.running()
    plane.jobs.stop(job_id)
    plane.end(job_id)
    assert plane.job(job_id).state is JobState.SUCCEEDED


def test_a_job_that_fails_while_it_is_being_stopped_is_stopped(plane):
    job_id = plane.running()
    plane.jobs.stop(job_id)
    plane.end(job_id, RayJobStatus.FAILED)
    assert plane.job(job_id).state is JobState.STOPPED


def test_stopping_outlives_the_cluster(plane):
    job_id = plane.running()
    plane.jobs.stop(job_id)
    plane.runner.lose_all()
    plane.tick()
    assert plane.job(job_id).state is JobState.STOPPED


def test_an_attempt_that_was_stopped_behind_our_back_is_stopped(plane):
    job_id = plane.running()
    plane.end(job_id, RayJobStatus.STOPPED)
    job = plane.job(job_id)
    assert (job.state, job.message) == (JobState.STOPPED, "stopped from outside the platform")


def test_an_attempt_that_runs_although_its_job_has_ended_is_stopped(plane):
    job_id = plane.running()
    plane.end(job_id)
    plane.runner.begin(f"{job_id}-1")
    plane.tick()
    assert plane.runner.stops == [f"{job_id}-1"]


def test_jobs_that_came_to_ray_by_another_door_are_left_alone(plane):
    plane.runner.begin("raysubmit_abc")
    plane.runner.begin("someone-elses-1")
    plane.tick()
    assert plane.runner.stops == []


def test_stopping_goes_on_when_the_reconciler_writes_at_the_same_time(plane, monkeypatch):
    job_id = plane.submit()
    save, failures = plane.store.save, iter([StaleWrite("changed"), StaleWrite("changed")])

    def contended(job, events=()):
        if error := next(failures, None):
            raise error
        return save(job, events)

    monkeypatch.setattr(plane.store, "save", contended)
    assert plane.jobs.stop(job_id).state is JobState.STOPPED
