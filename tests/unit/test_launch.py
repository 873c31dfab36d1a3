"""What is sent to Ray, rendered without sending it."""

import json
import shlex
from datetime import UTC, datetime

import pytest

from platform_app.domain.job import Job
from platform_app.launch import LaunchContext, ray_job
from platform_app.specs import CommandSpec, TrainSpec, digest, job_spec_adapter, load_catalog

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CATALOG = load_catalog()
PACKAGE = f"package:{'0' * 64}"
CONTEXT = LaunchContext(storage="/shared", tracking_uri="http://mlflow:5000")


def admitted(**fields):
    spec = TrainSpec(name="digits", workload="a:b", **fields)
    return Job(id="digits-abc123", spec=spec, created_at=NOW).admitted(NOW)


def test_the_spec_survives_the_shell_whatever_it_holds():
    job = admitted(config={"note": 'it\'s $HOME; `rm -rf` "x" \n'})
    words = shlex.split(ray_job(job, CONTEXT, CATALOG).entrypoint)
    assert words[:4] == ["python", "-m", "jobs.train", "--spec"]
    assert job_spec_adapter.validate_json(words[4]) == job.spec


def test_a_job_knows_its_attempt_and_where_things_are():
    env = ray_job(admitted(), CONTEXT, CATALOG).runtime_env["env_vars"]
    assert env["SLIPWAY_JOB_ID"] == "digits-abc123"
    assert env["SLIPWAY_ATTEMPT"] == "1"
    assert env["SLIPWAY_STORAGE"] == "/shared"
    assert env["MLFLOW_TRACKING_URI"] == "http://mlflow:5000"


def test_the_same_attempt_is_always_the_same_ray_job():
    assert ray_job(admitted(), CONTEXT, CATALOG) == ray_job(admitted(), CONTEXT, CATALOG)


def test_a_user_sets_variables_but_not_where_the_platform_keeps_things():
    env = ray_job(admitted(env_vars={"A": "1", "MLFLOW_TRACKING_URI": "http://mine"}), CONTEXT, CATALOG).runtime_env[
        "env_vars"
    ]
    assert env["A"] == "1"
    assert env["MLFLOW_TRACKING_URI"] == "http://mlflow:5000"


def test_working_directory_and_requirements_go_along_only_when_asked():
    plain = ray_job(admitted(), CONTEXT, CATALOG).runtime_env
    job = admitted(pip=("einops",), working_dir=PACKAGE)
    full = ray_job(job, CONTEXT, CATALOG, {PACKAGE: "file:///shared/packages/x.zip"}).runtime_env
    assert plain.keys() == {"env_vars"}
    assert (full["working_dir"], full["pip"]) == ("file:///shared/packages/x.zip", ["einops"])


def test_metadata_leads_from_the_ray_job_back_to_the_spec():
    job = admitted()
    assert ray_job(job, CONTEXT, CATALOG).metadata["slipway_spec"] == digest(job.spec)


def test_a_job_without_an_attempt_cannot_be_rendered():
    job = Job(id="digits-abc123", spec=admitted().spec, created_at=NOW)
    with pytest.raises(ValueError, match="no attempt"):
        ray_job(job, CONTEXT, CATALOG)


def command(**fields):
    spec = CommandSpec(**{"kind": "command", "name": "mine", "entrypoint": "python train.py", **fields})
    return Job(id="mine-abc123", spec=spec, created_at=NOW).admitted(NOW)


def test_a_command_is_sent_as_it_was_written_and_runs_on_a_worker():
    request = ray_job(command(entrypoint='echo "$HOME" && ls'), CONTEXT, CATALOG)
    assert request.entrypoint == 'echo "$HOME" && ls'
    assert request.driver["entrypoint_num_cpus"] == 1
    assert request.driver["entrypoint_label_selector"] == {"ray.io/node-group": "in(cpu)"}


def test_a_command_with_a_gpu_runs_on_a_worker_that_has_one():
    job = command(driver={"gpus_per_worker": 1, "market": "on-demand"}, driver_memory=2**30)
    assert ray_job(job, CONTEXT, CATALOG).driver == {
        "entrypoint_num_cpus": 1,
        "entrypoint_num_gpus": 1,
        "entrypoint_memory": 2**30,
        "entrypoint_label_selector": {"ray.io/node-group": "in(gpu-ondemand)"},
    }


def test_a_training_run_is_placed_by_ray_as_ever():
    assert ray_job(admitted(), CONTEXT, CATALOG).driver == {}


def test_the_packages_of_a_command_are_fetched_from_where_they_are_kept():
    runtime_env = {
        "working_dir": "gcs://_ray_pkg_1.zip",
        "py_modules": ["gcs://_ray_pkg_2.zip", "https://elsewhere/x.zip"],
        "env_vars": {"A": "1"},
        "pip": {"packages": ["einops"], "pip_check": False},
    }
    packages = {"gcs://_ray_pkg_1.zip": PACKAGE, "gcs://_ray_pkg_2.zip": PACKAGE}
    job = command(runtime_env=runtime_env, packages=packages, env_vars={"B": "2"})
    sent = ray_job(job, CONTEXT, CATALOG, {PACKAGE: "file:///shared/packages/x.zip"}).runtime_env
    assert sent["working_dir"] == "file:///shared/packages/x.zip"
    assert sent["py_modules"] == ["file:///shared/packages/x.zip", "https://elsewhere/x.zip"]
    assert sent["pip"] == runtime_env["pip"]
    assert (sent["env_vars"]["A"], sent["env_vars"]["B"]) == ("1", "2")


def test_what_a_command_logs_to_mlflow_goes_to_its_experiment_and_says_whose_it_is():
    env = ray_job(command(experiment="mine"), CONTEXT, CATALOG).runtime_env["env_vars"]
    assert env["MLFLOW_EXPERIMENT_NAME"] == "mine"
    assert json.loads(env["MLFLOW_RUN_CONTEXT"]) == {"slipway.job_id": "mine-abc123", "slipway.attempt": "1"}
    own = ray_job(command(env_vars={"MLFLOW_EXPERIMENT_NAME": "other"}), CONTEXT, CATALOG).runtime_env["env_vars"]
    assert own["MLFLOW_EXPERIMENT_NAME"] == "other"
