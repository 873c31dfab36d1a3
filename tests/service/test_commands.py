"""A command in the queue and in the ledger, beside training runs and sweeps."""

import pytest

from platform_app.domain.job import JobState, Reason
from platform_app.domain.team import DEFAULT_TEAM
from platform_app.errors import InvalidRequest
from platform_app.ports import RayJobStatus
from platform_app.specs import Overuse, Quota
from tests.control_plane import command_spec


@pytest.fixture
def running(plane):
    """Give the id of a command that runs."""
    job_id = plane.jobs.submit(command_spec()).id
    plane.tick()
    plane.runner.begin(f"{job_id}-1")
    plane.tick()
    return job_id


def test_it_goes_from_the_queue_to_its_end(plane, running):
    plane.end(running)
    assert (plane.job(running).state, plane.job(running).reason) == (JobState.SUCCEEDED, Reason.COMPLETED)


def test_it_fails_with_its_exit_code_and_keeps_its_output(plane, running):
    plane.runner.write(f"{running}-1", "ValueError: no\n")
    message = "Job entrypoint command failed with exit code 3, last available logs (truncated to 20,000 chars):\nno"
    plane.end(running, RayJobStatus.FAILED, message)
    job = plane.job(running)
    assert (job.state, job.reason) == (JobState.FAILED, Reason.USER_CODE_FAILED)
    assert job.message == "Job entrypoint command failed with exit code 3"
    assert plane.storage.log(running, 1) == "ValueError: no\n"


def test_its_own_exit_is_its_own_fault_however_it_was_killed(plane, running):
    plane.end(running, RayJobStatus.FAILED, "Job entrypoint command failed with exit code -9. No logs available.")
    assert plane.job(running).reason is Reason.USER_CODE_FAILED


def test_it_runs_again_when_its_worker_is_lost(plane, running):
    plane.end(running, RayJobStatus.FAILED, "Job supervisor actor died: the node was lost")
    plane.tick()
    assert plane.job(running).attempts[0].reason is Reason.DRIVER_LOST
    assert f"{running}-2" in plane.runner.requests


def test_an_environment_that_cannot_be_made_ends_it_with_the_reason(plane, running):
    plane.end(running, RayJobStatus.FAILED, "runtime_env setup failed: no matching distribution for nosuch")
    assert plane.job(running).reason is Reason.RUNTIME_ENV_FAILED
    assert "nosuch" in plane.job(running).message


def test_it_is_charged_for_what_it_asks_for_and_for_itself(plane):
    plan = plane.jobs.plan(command_spec(workers={"num_workers": 2}))
    assert [(one.group, one.training_workers, one.cluster_workers) for one in plan.placement] == [
        ("cpu", 0, 0.25),
        ("gpu-spot", 2, 2),
    ]


def test_what_it_holds_is_not_there_for_others(plane):
    plane.jobs.submit(command_spec(workers={"num_workers": 5}))
    second = plane.jobs.submit(command_spec(workers={"num_workers": 2})).id
    plane.tick()
    assert plane.job(second).state is JobState.QUEUED


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"driver": {"gpus_per_worker": 8}}, "driver.gpus_per_worker"),
        ({"driver": {"gpus_per_worker": 0, "cpus_per_worker": 64}}, "driver.cpus_per_worker"),
        ({"driver": {"gpus_per_worker": 1, "accelerator_type": "H100"}}, "driver.accelerator_type"),
        ({"driver_memory": 2**40}, "driver_memory"),
        ({"workers": {"num_workers": 7}}, "workers.num_workers"),
        ({"driver": {"gpus_per_worker": 1}, "workers": {"num_workers": 6}}, "workers.num_workers"),
        ({"working_dir": f"package:{'0' * 64}"}, "working_dir"),
        ({"packages": {"gcs://x.zip": f"package:{'0' * 64}"}}, "packages"),
        ({"tier": "urgent"}, "tier"),
    ],
)
def test_what_can_never_run_is_refused_by_its_field(plane, fields, field):
    with pytest.raises(InvalidRequest) as caught:
        plane.jobs.submit(command_spec(**fields))
    assert [problem.field for problem in caught.value.problems] == [field]


class TestOveruse:
    """Of a job that declared one GPU for what it asks inside, and holds two."""

    @pytest.fixture
    def greedy(self, plane):
        job_id = plane.jobs.submit(command_spec(workers={"num_workers": 1})).id
        plane.tick()
        plane.runner.begin(f"{job_id}-1")
        plane.tick()
        plane.held.held[f"{job_id}-1"] = 2
        return job_id

    def events(self, plane, job_id):
        return [event.message for event in plane.store.events(job_id) if event.kind == "overuse"]

    def test_is_written_down_once_within_seconds(self, plane, greedy):
        for _ in range(5):
            plane.tick()
        [message] = self.events(plane, greedy)
        assert "holds 2 GPUs" in message
        assert "declared 1" in message
        for _ in range(20):
            plane.tick()
        plane.restart()
        for _ in range(5):
            plane.tick()
        assert self.events(plane, greedy) == [message]
        assert plane.job(greedy).state is JobState.RUNNING

    def test_is_stopped_with_the_reason_where_the_team_has_it_so(self, plane, greedy):
        plane.database.teams.set_quota(DEFAULT_TEAM, Quota(overuse=Overuse.STOP))
        for _ in range(5):
            plane.tick()
        assert plane.runner.stops
        plane.end(greedy, RayJobStatus.STOPPED)
        job = plane.job(greedy)
        assert (job.state, job.reason) == (JobState.FAILED, Reason.MORE_THAN_DECLARED)
        assert "declare them" in job.message

    def test_that_is_seen_once_alone_may_be_a_task_that_has_just_ended(self, plane, greedy):
        plane.tick(3)
        plane.held.held.clear()
        plane.tick(3)
        plane.held.held[f"{greedy}-1"] = 2
        plane.tick(3)
        assert self.events(plane, greedy) == []

    def test_is_seen_twice_within_seconds_also_when_the_clock_was_set_back(self, plane, greedy):
        plane.tick(3)
        plane.clock.advance(-3600)
        plane.tick()
        assert self.events(plane, greedy) == []
        for _ in range(3):
            plane.tick()
        assert len(self.events(plane, greedy)) == 1

    def test_is_none_of_what_was_declared(self, plane, greedy):
        plane.held.held[f"{greedy}-1"] = 1
        for _ in range(5):
            plane.tick(3)
        assert self.events(plane, greedy) == []

    def test_that_cannot_be_looked_at_holds_nothing_back(self, plane, greedy):
        plane.held.power.away = True
        for _ in range(5):
            plane.tick(3)
        plane.end(greedy)
        assert plane.job(greedy).state is JobState.SUCCEEDED
