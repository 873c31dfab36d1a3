"""A job's life: what may follow what, and what an ended attempt leads to."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_app.domain.job import TERMINAL, TRANSITIONS, IllegalTransition, Job, JobState, Reason
from platform_app.specs import FailureCause, TrainSpec

NOW = datetime(2026, 1, 1, tzinfo=UTC)
JOB = Job(id="digits-abc123", spec=TrainSpec(name="digits", workload="a:b"), created_at=NOW)


def test_a_new_job_is_queued_and_has_no_ray_job():
    assert JOB.state is JobState.QUEUED
    assert JOB.submission_id is None


def test_each_admission_starts_the_next_attempt_under_its_own_id():
    first = JOB.admitted(NOW)
    again = first.running(NOW).ended(Reason.CLUSTER_LOST, NOW).admitted(NOW)
    assert [first.submission_id, again.submission_id] == ["digits-abc123-1", "digits-abc123-2"]


@pytest.mark.parametrize("reason", [Reason.PREEMPTED, Reason.CLUSTER_LOST, Reason.DRIVER_LOST])
def test_losing_workers_or_the_cluster_leads_back_to_the_queue(reason):
    job = JOB.admitted(NOW).running(NOW).ended(reason, NOW, "gone")
    assert job.state is JobState.QUEUED
    assert job.ended_at is None
    assert job.attempt is not None
    assert job.attempt.reason is reason
    assert job.attempt.ended_at == NOW


def test_a_reason_that_nobody_planned_for_is_a_failure():
    assert Reason.DRIVER_FAILED.next_state is JobState.FAILED


def test_whatever_a_driver_can_tell_is_a_reason():
    assert {cause.value for cause in FailureCause} <= {reason.value for reason in Reason}


def test_the_first_start_is_kept_over_attempts():
    later = NOW + timedelta(hours=1)
    job = JOB.admitted(NOW).running(NOW).ended(Reason.PREEMPTED, later).admitted(later).running(later)
    assert job.started_at == NOW


@pytest.mark.parametrize("state", sorted(TERMINAL))
@pytest.mark.parametrize("following", list(JobState))
def test_nothing_follows_an_end(state, following):
    assert following not in TRANSITIONS[state]


def test_an_illegal_transition_is_a_bug_and_says_which():
    with pytest.raises(IllegalTransition, match="QUEUED -> SUCCEEDED"):
        JOB.moved(JobState.SUCCEEDED, NOW)


@given(st.lists(st.sampled_from(list(JobState))))
def test_whatever_is_tried_a_job_ends_once_and_keeps_its_identity(path):
    job = JOB
    for state in path:
        was_terminal = job.state.is_terminal
        try:
            job = job.moved(state, NOW)
        except IllegalTransition:
            continue
        assert not was_terminal
    assert (job.id, job.spec, job.created_at) == (JOB.id, JOB.spec, JOB.created_at)
    assert (job.ended_at is not None) == job.state.is_terminal


def test_every_state_leads_to_an_end():
    def ends(state, seen):
        return state in TERMINAL or any(ends(s, {*seen, s}) for s in TRANSITIONS[state] - seen)

    assert all(ends(state, {state}) for state in JobState)
