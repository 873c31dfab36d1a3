"""Ray's head, or MLflow, is killed under a platform that works: it comes back by itself, and clients go on."""

import signal

import numpy as np
import pytest

from jobs.workloads.digits import test_set as digits_test_set
from platform_app.domain.job import JobState, Reason
from platform_app.specs import DeploymentSpec
from tests.running import eventually, running_platform

pytestmark = [pytest.mark.ray, pytest.mark.long, pytest.mark.timeout(900)]

JOB = {
    "name": "digits",
    "workload": "jobs.workloads.digits:make",
    "epochs": 3,
    "objective": {"metric": "accuracy", "mode": "max"},
    "registered_model": "digits",
}


@pytest.fixture(scope="module")
def own():
    """Give a platform that nobody else needs."""
    with running_platform() as platform:
        yield platform


def test_a_head_that_dies_costs_a_job_an_attempt_and_a_deployment_a_moment(own):
    client = own.client
    first = client.wait(client.submit(JOB).id, timeout=300)
    assert first.state is JobState.SUCCEEDED, first.message
    client.promote("digits", first.model_version)
    client.deploy("digits", DeploymentSpec(model="digits"))
    client.wait_deployed("digits", first.model_version, timeout=180)
    long = {**JOB, "epochs": 60, "checkpointing": {"every_steps": 10}, "registered_model": None}
    job = client.submit(long)
    before = eventually(lambda: (now := client.job(job.id)).progress and now.progress.done >= 30 and now, timeout=180)

    own.kill("gcs_server")
    ended = client.wait(job.id, timeout=400)
    assert ended.state is JobState.SUCCEEDED, ended.message
    assert [attempt.reason for attempt in ended.attempts] == [Reason.CLUSTER_LOST, Reason.COMPLETED]
    assert ended.mlflow_run_id == before.mlflow_run_id
    assert ended.progress.done == before.progress.total
    (cost,) = ended.interruptions
    assert cost.cause == "driver-lost"
    assert cost.steps_lost < 30, "it went on from a checkpoint"

    images, _ = digits_test_set()
    client.wait_deployed("digits", first.model_version, timeout=180)
    scores = np.asarray(next(iter(client.predict("digits", {"input": images[:4]}).values())))
    assert scores.size == 40


def test_an_mlflow_that_dies_is_back_with_what_it_knew(own):
    for server in own.processes("mlflow.server"):
        server.send_signal(signal.SIGKILL)
    assert eventually(lambda: "started MLflow again" in own.slipway("status").stdout, timeout=90)
    assert own.client.versions("digits")
