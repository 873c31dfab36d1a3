"""Teams, tiers and room: who starts, who waits within a quota, who makes room, and what is told of it."""

from pathlib import Path

import pytest

from platform_app.domain.job import JobState, Reason
from platform_app.errors import InvalidRequest
from platform_app.ports import RayJobStatus
from platform_app.specs import AttemptStatus, Grant, Progress, Quota, grant_path
from tests.control_plane import ADMIN, sweep_spec

SIX = {"num_workers": 6}
CRITICAL = "training-critical"


def quota(plane, team, **bounds):
    plane.teams.put(ADMIN, team, Quota(**bounds))


def trains(plane, job_id, attempt=1):
    """Let an attempt have taken some steps."""
    progress = Progress(done=40, total=100, unit="steps")
    plane.report(job_id, attempt, status=AttemptStatus.RUNNING, num_workers=1, progress=progress)


def told_to_leave(plane, job_id):
    path = Path(grant_path(plane.root, job_id))
    return Grant.model_validate_json(path.read_bytes()).leave if path.exists() else 0


def test_what_does_not_fit_its_teams_quota_waits_with_the_numbers_while_others_start(plane):
    quota(plane, "research", gpus={"A10G": 2})
    plane.running(team="research", resources={"num_workers": 2})
    waits, other = plane.submit(team="research"), plane.submit(team="product")
    plane.tick()
    assert plane.job(waits).state is JobState.QUEUED
    assert "team research: GPUs A10G: asks for 1, 2 of 2 used" in plane.job(waits).message
    assert plane.job(other).state is JobState.PENDING


def test_a_larger_quota_lets_it_start(plane):
    quota(plane, "research", jobs=1)
    plane.running(team="research")
    waits = plane.submit(team="research")
    plane.tick()
    assert "jobs: asks for 1, 1 of 1 used" in plane.job(waits).message
    quota(plane, "research", jobs=2)
    plane.tick()
    assert plane.job(waits).state is JobState.PENDING


def test_who_waits_is_told_which_of_its_own_teams_jobs_hold_the_workers_and_only_how_many_of_others(plane):
    own, others = plane.running(team="research", resources={"num_workers": 4}), plane.running(resources={})
    waits = plane.submit(team="research", resources={"num_workers": 2})
    plane.tick()
    assert f"held now by: {own}, 1 job of other teams" in plane.job(waits).message
    assert others not in plane.job(waits).message
    urgent = plane.submit(team="research", tier=CRITICAL, resources={"num_workers": 2})
    plane.tick()
    assert plane.job(urgent).message == "waits until room is made for it by 1 job of other teams"


@pytest.mark.parametrize("bounds", [{"gpus": {"A10G": 2}}, {"cpus": 2}, {"jobs": 0}, {"jobs": 0, "borrow": True}])
def test_what_can_never_fit_the_quota_is_refused_with_the_numbers(plane, bounds):
    quota(plane, "research", **bounds)
    with pytest.raises(InvalidRequest, match=r"more than team research may ever hold \(.*asks for"):
        plane.submit(team="research", resources={"num_workers": 3})


def test_who_may_borrow_has_what_others_leave_idle_and_gives_it_back(plane):
    quota(plane, "research", gpus={"A10G": 2}, borrow=True)
    borrowed = plane.running(team="research", tier=CRITICAL, resources=SIX)
    own = plane.submit(team="product", resources={"num_workers": 4})
    plane.tick()
    assert plane.job(borrowed).attempt.preempted_for == own
    assert plane.job(own).state is JobState.QUEUED
    assert "room is made for it by 1 job of other teams" in plane.job(own).message


def test_a_higher_tier_has_the_newest_lower_ones_make_room_and_no_more_than_it_needs(plane):
    older, newer = plane.running(resources={"num_workers": 2}), plane.running(resources={"num_workers": 2})
    newest = plane.running(resources={"num_workers": 2})
    plane.submit(tier=CRITICAL, resources={"num_workers": 3})
    plane.tick()
    leaving = [job_id for job_id in (older, newer, newest) if plane.job(job_id).is_leaving]
    assert leaving == [newer, newest]


def test_serving_makes_room_for_nobody(plane):
    plane.running(tier="production-serving", resources=SIX)
    waits = plane.submit(tier="production-serving")
    plane.tick()
    assert plane.job(waits).message.startswith("waits for 1 free worker")


def test_a_training_run_leaves_after_its_checkpoint_and_goes_on_when_there_is_room(plane):
    victim = plane.running(resources=SIX)
    trains(plane, victim)
    urgent = plane.submit(tier=CRITICAL)
    plane.tick()
    plane.tick()
    assert told_to_leave(plane, victim) == 1
    assert plane.runner.stops == []
    assert plane.job(victim).state is JobState.RUNNING
    plane.runner.finish(f"{victim}-1", RayJobStatus.FAILED, "exit code 143")
    plane.tick()
    job = plane.job(victim)
    assert (job.state, job.reason) == (JobState.QUEUED, Reason.PREEMPTED)
    plane.tick()
    assert plane.job(urgent).state is JobState.PENDING
    plane.runner.begin(f"{urgent}-1")
    plane.end(urgent)
    plane.tick()
    plane.tick()
    assert plane.job(victim).submission_id == f"{victim}-2"
    assert told_to_leave(plane, victim) == 1, "the second attempt is not told to leave"
    told = [event.message for event in plane.store.events(victim)]
    assert f"attempt 1 makes room for {urgent} ({CRITICAL})" in told
    assert f"attempt 1: preempted: made room for {urgent}; it continues from its last checkpoint" in told


@pytest.mark.parametrize("has_stepped", [False, True])
def test_what_has_no_checkpoint_to_write_or_takes_too_long_is_stopped(plane, has_stepped):
    victim = plane.running(resources=SIX)
    if has_stepped:
        trains(plane, victim)
    plane.submit(tier=CRITICAL)
    plane.tick()
    plane.tick()
    assert bool(plane.runner.stops) is not has_stepped
    plane.tick(120)
    assert plane.runner.stops[-1] == f"{victim}-1"
    plane.runner.finish(f"{victim}-1", RayJobStatus.STOPPED)
    plane.tick()
    assert plane.job(victim).reason is Reason.PREEMPTED


def test_a_sweep_that_makes_room_is_stopped_and_goes_on_with_its_next_attempt(plane):
    sweep = plane.jobs.submit(sweep_spec(search={"max_concurrent": 6, "num_samples": 8})).id
    plane.tick()
    plane.runner.begin(f"{sweep}-1")
    plane.tick()
    urgent = plane.submit(tier=CRITICAL, resources=SIX)
    plane.tick()
    plane.tick()
    assert plane.runner.stops == [f"{sweep}-1"]
    plane.end(sweep, RayJobStatus.STOPPED)
    plane.tick()
    assert (plane.job(sweep).state, plane.job(urgent).state) == (JobState.QUEUED, JobState.PENDING)


def test_a_run_that_ends_while_it_should_make_room_has_ended(plane):
    victim = plane.running(resources=SIX)
    plane.submit(tier=CRITICAL)
    plane.tick()
    plane.end(victim)
    assert plane.job(victim).state is JobState.SUCCEEDED


def test_a_job_that_is_stopped_while_it_makes_room_is_stopped(plane):
    victim = plane.running(resources=SIX)
    plane.submit(tier=CRITICAL)
    plane.tick()
    plane.jobs.stop(victim)
    plane.end(victim, RayJobStatus.STOPPED)
    assert plane.job(victim).state is JobState.STOPPED


def test_a_platform_that_died_after_it_chose_who_leaves_has_them_leave_when_it_is_back(plane):
    victim = plane.running(resources=SIX)
    trains(plane, victim)
    plane.submit(tier=CRITICAL)
    plane.tick()
    assert told_to_leave(plane, victim) == 0
    plane.restart()
    plane.tick()
    assert told_to_leave(plane, victim) == 1


def test_who_has_had_least_lately_comes_first(plane):
    first = plane.running(team="research", resources=SIX)
    for _ in range(6):
        plane.tick(600)
    plane.end(first)
    plane.tick()
    greedy = [plane.submit(team="research", resources=SIX) for _ in range(2)]
    modest = plane.submit(team="product", resources=SIX)
    plane.runner.finish(plane.job(greedy[0]).submission_id or f"{greedy[0]}-1")
    plane.tick()
    assert plane.job(modest).state is JobState.PENDING
    used = {team.name: team.used for team in plane.database.teams.teams()}
    assert used["research"] > 3 > used["product"], "six workers for an hour, in US dollars"


def test_a_job_that_waits_too_long_is_served_first_and_then_left_alone(plane):
    blocker = plane.running(resources={"num_workers": 4})
    large = plane.submit(resources=SIX)
    plane.tick(plane.catalog.overdue_seconds)
    small = plane.submit(tier=CRITICAL)
    plane.tick()
    assert plane.job(small).state is JobState.QUEUED, "room is kept for the one that is overdue"
    plane.end(blocker)
    plane.tick()
    assert plane.job(large).state is JobState.PENDING
    plane.tick(60)
    assert not plane.job(large).is_leaving
    plane.tick(plane.catalog.overdue_seconds)
    assert plane.job(large).is_leaving
