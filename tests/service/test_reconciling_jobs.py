"""What becomes of a job, tick by tick: from the queue to Ray, and what must not keep others from it."""

import pytest

from platform_app.domain.job import JobState, Reason
from platform_app.reconciler import queue as queue_pass
from tests.control_plane import a_zip
from tests.fakes import Crash


def test_a_job_goes_from_the_queue_to_its_end(plane):
    job_id = plane.running()
    plane.end(job_id)
    job = plane.job(job_id)
    assert (job.state, job.reason) == (JobState.SUCCEEDED, Reason.COMPLETED)
    assert [event.kind for event in plane.store.events(job_id)] == ["QUEUED", "PENDING", "RUNNING", "SUCCEEDED"]
    assert job.attempt.reason is Reason.COMPLETED


def test_the_attempt_is_in_the_ledger_before_it_is_submitted(plane):
    job_id = plane.submit()
    plane.runner.crash = "before"
    with pytest.raises(Crash):
        plane.tick()
    assert plane.job(job_id).state is JobState.PENDING
    assert plane.runner.requests == {}
    plane.restart()
    plane.tick()
    assert list(plane.runner.requests) == [f"{job_id}-1"]


def test_a_crash_after_submitting_starts_nothing_twice(plane):
    job_id = plane.submit()
    plane.runner.crash = "after"
    with pytest.raises(Crash):
        plane.tick()
    plane.restart()
    plane.tick()
    plane.tick()
    assert list(plane.runner.requests) == [f"{job_id}-1"]
    assert len(plane.job(job_id).attempts) == 1


def test_what_does_not_fit_waits_and_says_for_what(plane):
    first = plane.submit(resources={"num_workers": 6})
    plane.tick()
    second = plane.submit(resources={"num_workers": 6})
    plane.tick()
    waiting = plane.job(second)
    assert waiting.state is JobState.QUEUED
    assert first in waiting.message


def test_a_job_that_waits_unchanged_is_not_written_again(plane):
    plane.submit(resources={"num_workers": 6})
    plane.tick()
    second = plane.submit(resources={"num_workers": 6})
    plane.tick()
    before = plane.job(second)
    for _ in range(3):
        plane.tick()
    assert plane.job(second) == before


def test_a_long_queue_is_told_why_it_waits_a_part_at_a_time(plane, monkeypatch):
    monkeypatch.setattr(queue_pass, "_MESSAGES_PER_PASS", 2)
    plane.submit(resources={"num_workers": 6})
    plane.tick()
    waiting = [plane.submit(resources={"num_workers": 6}) for _ in range(3)]
    plane.tick()
    assert sum(bool(plane.job(job_id).message) for job_id in waiting) == 2
    plane.tick()
    assert all(plane.job(job_id).message for job_id in waiting)


def test_room_that_is_freed_goes_to_the_next(plane):
    first = plane.running(resources={"num_workers": 6})
    second = plane.submit(resources={"num_workers": 6})
    plane.tick()
    plane.end(first)
    plane.tick()
    assert plane.job(second).state is JobState.PENDING


def test_a_refused_submission_ends_the_job_with_the_reason(plane):
    plane.runner.refusal = "runtime_env is not valid"
    job_id = plane.submit()
    plane.tick()
    job = plane.job(job_id)
    assert (job.state, job.reason) == (JobState.FAILED, Reason.SUBMISSION_REFUSED)
    assert "runtime_env is not valid" in job.message


def test_a_working_directory_that_has_gone_since_refuses_the_job(plane, tmp_path):
    package = plane.storage.add_package([a_zip()], 10_000)
    job_id = plane.submit(working_dir=package)
    next((tmp_path / "storage" / "packages").iterdir()).unlink()
    plane.tick()
    assert "upload it and submit again" in plane.job(job_id).message


def test_ray_being_away_keeps_everything_as_it_is(plane):
    running, queued = plane.running(), plane.submit()
    plane.runner.power.away = True
    for _ in range(3):
        plane.tick()
    assert plane.job(running).state is JobState.RUNNING
    assert plane.job(queued).state is JobState.QUEUED
    plane.runner.power.away = False
    plane.tick()
    assert plane.job(queued).state is JobState.PENDING


def test_one_job_that_cannot_be_reconciled_does_not_hold_back_the_others(plane, monkeypatch):
    broken, whole = plane.running(), plane.running()
    report = plane.storage.report

    def unreadable(job_id: str, attempt: int):
        if job_id == broken:
            raise RuntimeError("a bug")
        return report(job_id, attempt)

    monkeypatch.setattr(plane.storage, "report", unreadable)
    plane.runner.finish(f"{broken}-1")
    plane.end(whole)
    assert plane.job(whole).state is JobState.SUCCEEDED
    assert plane.job(broken).state is JobState.RUNNING


def test_a_tier_that_has_left_the_catalog_holds_back_only_its_own_jobs(plane):
    orphan = plane.submit(tier="training-critical")
    plane.catalog = plane.catalog.model_copy(update={"tiers": plane.catalog.tiers[2:]})
    plane.reconciler = plane.new_reconciler("with the new catalog")
    other = plane.submit()
    plane.tick()
    assert plane.job(other).state is JobState.PENDING
    assert "training-critical" in plane.job(orphan).message


def test_what_was_decided_about_a_job_that_changed_meanwhile_is_dropped(plane, monkeypatch):
    job_id = plane.submit()
    live = plane.store.live

    def and_then_someone_stops_it():
        jobs = live()
        plane.jobs.stop(job_id)
        return jobs

    monkeypatch.setattr(plane.store, "live", and_then_someone_stops_it)
    plane.tick()
    assert plane.job(job_id).state is JobState.STOPPED
    assert plane.runner.requests == {}
