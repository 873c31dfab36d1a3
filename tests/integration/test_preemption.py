"""A job of a higher tier takes the workers of one of a lower tier, which comes back and goes on where it was."""

from pathlib import Path

import pytest

from platform_app.client import Platform
from platform_app.domain.job import JobState, Reason
from platform_app.specs import Quota, Role, TokenSpec
from tests.running import eventually

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]

CODE = Path(__file__).parent
SLOW = {"workload": "slow_digits:make", "checkpointing": {"every_epochs": 1000}}
"""Saves nothing by itself while a test lasts: what it goes on from was saved because it had to leave."""


def on_demand(num_workers):
    """Ask for the group of two workers, so that one job is enough to fill it."""
    return {"num_workers": num_workers, "market": "on-demand"}


@pytest.fixture(scope="module")
def others(running):
    """Give the platform as it is to another team than the one whose jobs are in the way."""
    running.client.put_team("vision", Quota())
    token = running.client.add_token(TokenSpec(name="tests", team="vision", role=Role.MEMBER)).token
    return Platform(running.state.api_url, token)


def trains(client, job_id, steps=30):
    """Wait until a run has done so many steps more than when it was first looked at, and give it."""

    def now():
        job = client.job(job_id)
        assert not job.state.is_terminal, job.message
        return job.progress.done if job.progress else 0

    before = eventually(now, timeout=240)
    eventually(lambda: now() >= before + steps, timeout=240)
    return client.job(job_id)


def submit_urgent(client, num_workers):
    fields = {"name": "urgent", "tier": "training-critical", "epochs": 1, "resources": on_demand(num_workers)}
    return client.submit({**SLOW, **fields}, working_dir=CODE)


def causes(job):
    return [(one.cause, one.steps_lost) for one in job.interruptions]


def test_a_training_run_saves_leaves_its_workers_to_a_higher_tier_and_goes_on_when_that_has_ended(running, others):
    client = running.client
    low = client.submit({**SLOW, "name": "low", "epochs": 40, "resources": on_demand(2)}, working_dir=CODE)
    before = trains(client, low.id)
    urgent = submit_urgent(others, 2)
    waiting = eventually(lambda: (one := client.explain(low.id)).cause == "groups-full" and one, timeout=180)
    assert waiting.state is JobState.QUEUED
    assert urgent.id in waiting.why
    assert "preempted" in [other.cause for other in waiting.others]
    ended = others.wait(urgent.id, timeout=240)
    assert (ended.state, len(ended.attempts)) == (JobState.SUCCEEDED, 1), ended.message
    low = client.wait(low.id, timeout=240)
    assert low.state is JobState.SUCCEEDED, low.message
    assert [attempt.reason for attempt in low.attempts] == [Reason.PREEMPTED, Reason.COMPLETED]
    assert low.attempts[0].preempted_for == urgent.id
    assert causes(low) == [("preempted", 0)]
    assert low.interruptions[0].step >= before.progress.done
    assert low.progress.done == before.progress.total
    assert low.mlflow_run_id == before.mlflow_run_id


@pytest.mark.long
def test_an_elastic_run_shrinks_for_a_higher_tier_and_leaves_only_where_that_does_not_do(running, others):
    client = running.client
    low = client.submit({**SLOW, "name": "wide", "epochs": 5000, "resources": on_demand([1, 2])}, working_dir=CODE)
    eventually(lambda: client.job(low.id).num_workers == 2, timeout=240)
    trains(client, low.id)
    assert others.wait(submit_urgent(others, 1).id, timeout=240).state is JobState.SUCCEEDED
    assert len(client.job(low.id).attempts) == 1
    eventually(lambda: client.job(low.id).num_workers == 2, timeout=240)
    trains(client, low.id)
    assert others.wait(submit_urgent(others, 2).id, timeout=240).state is JobState.SUCCEEDED
    eventually(lambda: len(client.job(low.id).interruptions) >= 3, timeout=240)
    client.stop(low.id)
    low = client.wait(low.id, timeout=120)
    assert causes(low) == [("resize", 0), ("resize", 0), ("preempted", 0)]
    assert [attempt.reason for attempt in low.attempts] == [Reason.PREEMPTED, Reason.STOPPED_BY_USER]


@pytest.mark.long
def test_a_sweep_leaves_its_workers_to_a_higher_tier_and_runs_no_finished_trial_again(running, others):
    client = running.client
    spec = {
        "kind": "sweep",
        "name": "search",
        "workload": "slow_digits:make",
        "epochs": 3,
        "objective": {"metric": "accuracy", "mode": "max"},
        "space": {"lr": {"type": "loguniform", "low": 1e-3, "high": 1e-1}},
        "search": {"num_samples": 8, "max_concurrent": 2},
        "scheduler": {"type": "fifo"},
        "resources": {"num_workers": 1, "market": "on-demand"},
    }
    sweep = client.submit(spec, working_dir=CODE)
    eventually(lambda: (now := client.job(sweep.id)).progress and now.progress.done >= 2, timeout=300)
    urgent = submit_urgent(others, 2)
    eventually(lambda: client.job(sweep.id).state is JobState.QUEUED, timeout=180)
    finished = {trial.run_id: trial.ended_at for trial in client.trials(sweep.id) if trial.status == "FINISHED"}
    assert len(finished) >= 2
    assert others.wait(urgent.id, timeout=240).state is JobState.SUCCEEDED
    sweep = client.wait(sweep.id, timeout=400)
    assert sweep.state is JobState.SUCCEEDED, sweep.message
    assert [attempt.reason for attempt in sweep.attempts] == [Reason.PREEMPTED, Reason.COMPLETED]
    trials = client.trials(sweep.id)
    assert [trial.status for trial in trials] == ["FINISHED"] * 8
    assert {trial.run_id: trial.ended_at for trial in trials if trial.run_id in finished} == finished
