"""Elastic runs: the reconciler tells them what they may have, and gives away only what they have let go."""

from datetime import timedelta
from pathlib import Path

from platform_app.domain.job import JobState
from platform_app.specs import AttemptStatus, Grant, Interruption, Progress, grant_path
from tests.control_plane import sweep_spec, train_spec


def granted(plane, job_id):
    return Grant.model_validate_json(Path(grant_path(plane.root, job_id)).read_bytes()).num_workers


def elastic(plane, low, high):
    return plane.running(resources={"num_workers": [low, high]})


def test_an_elastic_run_starts_with_all_that_is_free_and_is_told_so(plane):
    job_id = elastic(plane, 1, 6)
    assert granted(plane, job_id) == 6
    assert plane.jobs.get(job_id).attempts[0].granted_workers == 6


def test_a_waiting_job_starts_once_the_elastic_run_has_shrunk_for_it(plane):
    job_id = elastic(plane, 1, 6)
    plane.report(job_id, 1, status=AttemptStatus.RUNNING, num_workers=6)
    other = plane.jobs.submit(train_spec(resources={"num_workers": 2})).id
    plane.tick()
    assert granted(plane, job_id) == 4
    assert plane.job(other).state is JobState.QUEUED
    plane.report(job_id, 1, status=AttemptStatus.RUNNING, num_workers=4)
    plane.tick()
    assert plane.job(other).state is JobState.PENDING


def test_it_grows_again_when_there_is_room_but_not_at_every_moment(plane):
    job_id = elastic(plane, 1, 6)
    other = plane.running(resources={"num_workers": 2})
    plane.tick()
    assert granted(plane, job_id) == 4
    plane.end(other)
    plane.tick()
    assert granted(plane, job_id) == 4
    plane.tick(60)
    assert granted(plane, job_id) == 6


def test_a_platform_that_died_before_it_told_tells_it_when_it_is_back(plane):
    job_id = elastic(plane, 1, 6)
    Path(grant_path(plane.root, job_id)).unlink()
    plane.restart()
    plane.tick()
    assert granted(plane, job_id) == 6


def test_what_interruptions_cost_is_in_the_view_and_in_the_events(plane):
    job_id = plane.running()
    interruption = Interruption(
        at=plane.clock.now(),
        cause="notice",
        num_workers=1,
        steps_lost=0,
        seconds=12.5,
        gpu_seconds_lost=12.5,
    )
    told = {"interruptions": (interruption,), "warnings": ("checkpoint at step 40 failed: disk full",)}
    plane.report(job_id, 1, status=AttemptStatus.RUNNING, **told)
    assert plane.jobs.get(job_id).interruptions == (interruption,)
    plane.end(job_id)
    events = {event.kind: event.message for event in plane.jobs.events(job_id)}
    assert events["interruption"].startswith("notice: 0 steps and 12.5 GPU-seconds lost")
    assert events["warning"] == "checkpoint at step 40 failed: disk full"


def test_a_job_tells_what_interruptions_cost_in_all_of_its_attempts(plane):
    job_id, began_at = plane.running(), plane.clock.now()

    def tells(attempt, seconds, wait, began_at=began_at):
        at = began_at + timedelta(seconds=seconds)
        progress = Progress(done=seconds, total=500, unit="steps", began_at=began_at, at=at)
        lost = {"cause": "driver-lost", "num_workers": 1, "steps_lost": 0, "gpu_seconds_lost": wait}
        interruptions = (Interruption(at=at, seconds=wait, **lost),)
        plane.report(job_id, attempt, status=AttemptStatus.RUNNING, progress=progress, interruptions=interruptions)

    tells(attempt=1, seconds=100, wait=20)
    assert plane.jobs.get(job_id).goodput == 0.8
    plane.runner.lose_all()
    plane.tick()
    plane.tick()
    assert len(plane.job(job_id).attempts) == 2
    assert plane.jobs.get(job_id).goodput == 0.8
    tells(attempt=2, seconds=80, wait=30, began_at=began_at + timedelta(seconds=120))
    job = plane.jobs.get(job_id)
    assert [one.seconds for one in job.interruptions] == [20, 30]
    assert job.goodput == 0.75


def test_a_job_starts_on_what_a_sweep_needs_no_more(plane):
    sweep = plane.jobs.submit(sweep_spec(search={"num_samples": 9, "max_concurrent": 6})).id
    plane.tick()
    plane.runner.begin(f"{sweep}-1")
    plane.tick()
    other = plane.jobs.submit(train_spec(resources={"num_workers": 2})).id
    plane.report(sweep, 1, status=AttemptStatus.RUNNING, num_workers=5)
    plane.tick()
    assert plane.job(other).state is JobState.QUEUED
    plane.report(sweep, 1, status=AttemptStatus.RUNNING, num_workers=4)
    plane.tick()
    assert plane.job(other).state is JobState.PENDING
