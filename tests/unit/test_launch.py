"""What is sent to Ray, rendered without sending it."""

import shlex
from datetime import UTC, datetime

import pytest

from platform_app.domain.job import Job
from platform_app.launch import LaunchContext, ray_job
from platform_app.specs import TrainSpec, digest, job_spec_adapter

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CONTEXT = LaunchContext(storage="/shared", tracking_uri="http://mlflow:5000")


def admitted(**fields):
    spec = TrainSpec(name="digits", workload="a:b", **fields)
    return Job(id="digits-abc123", spec=spec, created_at=NOW).admitted(NOW)


def test_the_spec_survives_the_shell_whatever_it_holds():
    job = admitted(config={"note": 'it\'s $HOME; `rm -rf` "x" \n'})
    words = shlex.split(ray_job(job, CONTEXT, None).entrypoint)
    assert words[:4] == ["python", "-m", "jobs.train", "--spec"]
    assert job_spec_adapter.validate_json(words[4]) == job.spec


def test_a_job_knows_its_attempt_and_where_things_are():
    env = ray_job(admitted(), CONTEXT, None).runtime_env["env_vars"]
    assert env["SLIPWAY_JOB_ID"] == "digits-abc123"
    assert env["SLIPWAY_ATTEMPT"] == "1"
    assert env["SLIPWAY_STORAGE"] == "/shared"
    assert env["MLFLOW_TRACKING_URI"] == "http://mlflow:5000"


def test_the_same_attempt_is_always_the_same_ray_job():
    assert ray_job(admitted(), CONTEXT, None) == ray_job(admitted(), CONTEXT, None)


def test_a_user_sets_variables_but_not_where_the_platform_keeps_things():
    env = ray_job(admitted(env_vars={"A": "1", "MLFLOW_TRACKING_URI": "http://mine"}), CONTEXT, None).runtime_env[
        "env_vars"
    ]
    assert env["A"] == "1"
    assert env["MLFLOW_TRACKING_URI"] == "http://mlflow:5000"


def test_working_directory_and_requirements_go_along_only_when_asked():
    plain = ray_job(admitted(), CONTEXT, None).runtime_env
    full = ray_job(admitted(pip=("einops",)), CONTEXT, "file:///shared/packages/x.zip").runtime_env
    assert plain.keys() == {"env_vars"}
    assert (full["working_dir"], full["pip"]) == ("file:///shared/packages/x.zip", ["einops"])


def test_metadata_leads_from_the_ray_job_back_to_the_spec():
    job = admitted()
    assert ray_job(job, CONTEXT, None).metadata["slipway_spec"] == digest(job.spec)


def test_a_job_without_an_attempt_cannot_be_rendered():
    job = Job(id="digits-abc123", spec=admitted().spec, created_at=NOW)
    with pytest.raises(ValueError, match="no attempt"):
        ray_job(job, CONTEXT, None)
