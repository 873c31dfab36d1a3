"""What is made of Serve's words: when a version counts as serving, and what a person is told."""

import pytest
from ray.serve.schema import (
    ApplicationStatus,
    ApplicationStatusOverview,
    DeploymentStatus,
    DeploymentStatusOverview,
)

from platform_app.adapters.ray_serve import is_settled, observation, root_cause
from platform_app.ports import ServingObservation

RETRYING = """A replica failed to start with exception. Retrying 2 more time(s). Error:
ray::ServeReplica:model-digits:model.initialize_and_get_metadata() (pid=1, ip=192.0.2.2)
  File "replica.py", line 1928, in initialize
    raise RuntimeError(traceback.format_exc()) from None
RuntimeError: Traceback (most recent call last):
  File "model.py", line 70, in load_model
serve.model.ModelDoesNotLoad: mlp version 9 does not load: MlflowException: not found
"""
WAITING = (
    "Deployment 'model' in application 'model-big' has 1 replicas that have taken more than 30s to be scheduled. "
    "This may be due to waiting for the cluster to auto-scale or for a runtime environment to be installed. "
    'Resources required for each replica: {"CPU": 64.0}, total resources available: {"CPU": 3.0}. '
    "Use `ray status` for more details."
)


def application(status, deployment_status, message=""):
    deployment = DeploymentStatusOverview(
        status=deployment_status, status_trigger="UNSPECIFIED", replica_states={}, message=message
    )
    return ApplicationStatusOverview(
        status=status, message="", last_deployed_time_s=0, deployments={"model": deployment}
    )


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        (RETRYING, "mlp version 9 does not load: MlflowException: not found"),
        (WAITING, 'a replica waits for a worker with {"CPU": 64.0}'),
        ("Error:\nTraceback:\n  File\nRuntimeError: CUDA out of memory\n\n", "RuntimeError: CUDA out of memory"),
        ("A replica's health check failed.", "A replica's health check failed."),
        ("", ""),
    ],
)
def test_a_person_is_told_the_root_cause_in_one_line(message, cause):
    assert root_cause(message) == cause


@pytest.mark.parametrize("was_settled", [True, False])
def test_a_healthy_application_that_runs_is_settled(was_settled):
    assert is_settled(application(ApplicationStatus.RUNNING, DeploymentStatus.HEALTHY), was_settled)


@pytest.mark.parametrize("scaling", [DeploymentStatus.UPSCALING, DeploymentStatus.DOWNSCALING])
def test_scaling_neither_settles_a_version_nor_unsettles_it(scaling):
    app = application(ApplicationStatus.RUNNING, scaling)
    assert is_settled(app, was_settled=True)
    assert not is_settled(app, was_settled=False)


@pytest.mark.parametrize("status", [status for status in ApplicationStatus if status != ApplicationStatus.RUNNING])
def test_only_an_application_that_runs_is_settled(status):
    # Between an apply and Serve's next look, a deployment still says HEALTHY of the version before.
    assert not is_settled(application(status, DeploymentStatus.HEALTHY), was_settled=True)


@pytest.mark.parametrize("status", [ApplicationStatus.DEPLOY_FAILED, ApplicationStatus.UNHEALTHY])
def test_a_failed_application_says_why(status):
    app = application(status, DeploymentStatus.DEPLOY_FAILED, RETRYING)
    assert observation(app, settled=False) == ServingObservation(
        ready=False, failed=True, message="mlp version 9 does not load: MlflowException: not found"
    )


def test_a_version_just_applied_does_not_tell_how_the_one_before_it_failed():
    app = application(ApplicationStatus.DEPLOYING, DeploymentStatus.DEPLOY_FAILED, RETRYING)
    assert observation(app, settled=False) == ServingObservation(ready=False, failed=False)


def test_a_start_that_is_tried_again_says_why():
    app = application(ApplicationStatus.DEPLOYING, DeploymentStatus.UPDATING, RETRYING)
    assert observation(app, settled=False).message == "mlp version 9 does not load: MlflowException: not found"


def test_a_deployment_that_goes_is_neither_ready_nor_failed():
    app = application(ApplicationStatus.DELETING, DeploymentStatus.UPDATING)
    assert observation(app, settled=False) == ServingObservation(ready=False, failed=False, message="is being deleted")
