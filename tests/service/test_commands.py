"""A command in the queue and in the ledger, beside training runs and sweeps."""

import pytest

from platform_app.domain.job import JobState, Reason
from platform_app.errors import InvalidRequest
from platform_app.ports import RayJobStatus
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
