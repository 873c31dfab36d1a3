"""What becomes of a job whose attempt has failed, or was lost with its driver or cluster."""

import pytest

from platform_app.domain.job import JobState, Reason
from platform_app.ports import RayJobStatus
from platform_app.reconciler.verdict import LOST_CLUSTERS


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
    assert "log-tail" not in {event.kind for event in plane.store.events(job_id)}


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
