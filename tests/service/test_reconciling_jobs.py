"""What becomes of a job, tick by tick."""

import pytest

from platform_app.domain.job import JobState, Reason
from platform_app.errors import StaleWrite
from platform_app.ports import RayJobStatus
from platform_app.reconciler import queue as queue_pass
from platform_app.reconciler.verdict import LOST_CLUSTERS
from tests.control_plane import a_zip
from tests.fakes import Crash


def states(plane, job_id: str) -> list[str]:
    """Name what happened to a job, in order."""
    return [event.kind for event in plane.store.events(job_id)]


def test_a_job_goes_from_the_queue_to_its_end(plane):
    job_id = plane.running()
    plane.end(job_id)
    job = plane.job(job_id)
    assert (job.state, job.reason) == (JobState.SUCCEEDED, Reason.COMPLETED)
    assert states(plane, job_id) == ["QUEUED", "PENDING", "RUNNING", "SUCCEEDED"]
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


@pytest.mark.parametrize("cause", ["import-failed", "metric-missing", "user-code-failed", "workers-lost"])
def test_a_failed_attempt_says_what_its_report_says(plane, cause):
    job_id = plane.running()
    plane.report(job_id, 1, status="failed", cause=cause, message="no module named digitz")
    plane.end(job_id, RayJobStatus.FAILED)
    job = plane.job(job_id)
    assert (job.state, job.reason, job.message) == (JobState.FAILED, Reason(cause), "no module named digitz")


def test_a_driver_that_dies_without_a_report_is_told_as_such(plane):
    job_id = plane.running()
    plane.end(job_id, RayJobStatus.FAILED, "failed with exit code 1")
    job = plane.job(job_id)
    assert job.reason is Reason.DRIVER_FAILED
    assert "exit code 1" in job.message


@pytest.mark.parametrize(
    "message",
    [
        "Job entrypoint command failed with exit code -9, last available logs:\n",
        "Unexpected error occurred: 5 worker(s) were killed due to the node running low on memory.",
        "Job supervisor actor died: The actor died unexpectedly before finishing this task.",
    ],
)
def test_a_job_whose_driver_was_killed_continues_but_not_for_ever(plane, message):
    job_id = plane.running()
    for attempt in range(1, 11):
        plane.end(job_id, RayJobStatus.FAILED, message)
        assert plane.job(job_id).attempts[0].reason is Reason.DRIVER_LOST
        plane.tick()
        plane.tick()
        assert len(plane.job(job_id).attempts) == min(attempt + 1, 10)
    job = plane.job(job_id)
    assert (job.state, job.reason) == (JobState.FAILED, Reason.DRIVER_FAILED)
    assert "the driver was killed 10 times" in job.message


def test_a_failed_attempt_leaves_the_tail_of_its_log_in_the_events(plane):
    job_id = plane.running()
    plane.runner.write(f"{job_id}-1", "".join(f"line {number}\n" for number in range(100)))
    plane.end(job_id, RayJobStatus.FAILED)
    tail = plane.store.events(job_id)[-1]
    assert tail.kind == "log-tail"
    assert tail.message.splitlines() == [f"line {number}" for number in range(60, 100)]


def test_the_log_of_every_ended_attempt_is_kept(plane):
    job_id = plane.running()
    plane.runner.write(f"{job_id}-1", "all of it\n")
    plane.end(job_id)
    plane.runner.lose_all()
    assert plane.storage.log(job_id, 1) == "all of it\n"
    assert "log-tail" not in states(plane, job_id)


def test_an_end_waits_for_its_log_but_not_for_ever(plane):
    job_id = plane.running()
    plane.runner.log_power.away = True
    plane.end(job_id)
    assert plane.job(job_id).state is JobState.RUNNING
    plane.tick(30)
    assert plane.job(job_id).state is JobState.RUNNING
    plane.tick(60)
    assert plane.job(job_id).state is JobState.SUCCEEDED


def test_a_lost_cluster_leads_to_the_next_attempt(plane):
    job_id = plane.running()
    plane.runner.lose_all()
    plane.tick()
    assert plane.job(job_id).attempts[0].reason is Reason.CLUSTER_LOST
    plane.tick()
    job = plane.job(job_id)
    assert (job.state, job.submission_id, job.reason) == (JobState.PENDING, f"{job_id}-2", None)


def test_a_lost_attempt_tells_of_its_interruptions(plane):
    job_id = plane.running()
    cost = {"at": "2026-01-01T00:00:00Z", "cause": "notice", "num_workers": 1, "steps_lost": 3, "seconds": 2.0}
    plane.report(job_id, 1, status="running", interruptions=[{**cost, "gpu_seconds_lost": 0.5}])
    plane.runner.lose_all()
    plane.tick()
    (told,) = [event for event in plane.store.events(job_id) if event.kind == "interruption"]
    assert "3 steps" in told.message


def test_a_job_that_loses_every_cluster_fails_in_the_end(plane):
    job_id = plane.submit()
    for number in range(1, LOST_CLUSTERS + 1):
        plane.tick()
        plane.tick()
        plane.runner.begin(f"{job_id}-{number}")
        plane.tick()
        plane.runner.lose_all()
        plane.tick()
    job = plane.job(job_id)
    assert (job.state, len(job.attempts)) == (JobState.FAILED, LOST_CLUSTERS)
    assert f"lost {LOST_CLUSTERS} times" in job.message


def test_an_attempt_that_never_reached_the_cluster_is_submitted_to_the_new_one(plane):
    job_id = plane.submit()
    plane.tick()
    plane.runner.lose_all()
    plane.tick()
    assert plane.runner.alive() == [f"{job_id}-1"]


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


def test_stopping_goes_on_when_the_reconciler_writes_at_the_same_time(plane, monkeypatch):
    job_id = plane.submit()
    save, failures = plane.store.save, iter([StaleWrite("changed"), StaleWrite("changed")])

    def contended(job, events=()):
        if error := next(failures, None):
            raise error
        return save(job, events)

    monkeypatch.setattr(plane.store, "save", contended)
    assert plane.jobs.stop(job_id).state is JobState.STOPPED
