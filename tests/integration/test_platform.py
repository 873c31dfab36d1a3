"""The whole platform on this machine: real Ray, real autoscaler, real MLflow, real HTTP."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import numpy as np
import pytest
from mlflow import MlflowClient

from jobs.workloads.digits import test_set as digits_test_set
from platform_app.client import ApiError
from platform_app.domain.deployment import DeploymentState
from platform_app.domain.job import JobState, Reason
from platform_app.specs import DeploymentSpec
from tests.running import eventually

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]

EXAMPLES = Path(__file__).parents[2] / "jobs" / "examples"
QUICK = {
    "name": "quick",
    "workload": "jobs.workloads.digits:make",
    "epochs": 2,
    "objective": {"metric": "accuracy", "mode": "max"},
}


@pytest.fixture(scope="module")
def trained(running):
    """Two versions of the model `digits`, the work of the example jobs, and what was seen meanwhile."""
    client = running.client
    eventually(lambda: running.workers() == 0)
    job = client.submit(EXAMPLES / "ddp.yaml")
    most = 0

    def look(_):
        nonlocal most
        most = max(most, running.gpu_workers_alive())

    job = client.wait(job.id, timeout=180, on_change=look)
    return job, most


def test_worker_groups_are_at_zero_before_above_zero_during_and_at_zero_after(running, trained):
    job, most = trained
    assert job.state is JobState.SUCCEEDED
    assert most >= 2
    eventually(lambda: running.workers() == 0)


def test_ddp_on_two_workers_reaches_the_accuracy_and_makes_a_version(running, trained):
    job, _ = trained
    version = next(v for v in running.client.versions("digits") if v.version == job.model_version)
    assert version.metrics["accuracy"] >= 0.95
    assert version.job_id == job.id


def test_killing_the_control_plane_mid_training_loses_no_job_and_no_log(running):
    client = running.client
    job = client.submit({**QUICK, "name": "survivor", "epochs": 60, "resources": {"num_workers": 2}})
    eventually(lambda: client.job(job.id).state is JobState.RUNNING)
    followed = []
    reader = threading.Thread(target=lambda: followed.extend(client.logs(job.id, follow=True)), daemon=True)
    reader.start()
    running.kill("ServeReplica:slipway:control-plane")
    running.kill("ServeReplica:slipway:reconciler")
    ended = client.wait(job.id, timeout=180)
    reader.join(timeout=60)
    assert ended.state is JobState.SUCCEEDED
    assert len(ended.attempts) == 1
    whole = "".join(client.logs(job.id))
    assert "epoch 60" in whole
    assert "".join(followed) == whole


def test_training_goes_on_while_mlflow_is_away_and_no_metric_is_lost(running):
    client = running.client
    job = client.submit({**QUICK, "name": "untracked", "epochs": 80})
    eventually(lambda: (now := client.job(job.id)).progress and now.progress.done)
    servers = running.processes("mlflow")
    assert servers
    for server in servers:
        server.send_signal(signal.SIGSTOP)
    try:
        before = client.job(job.id).progress.done
        eventually(lambda: client.job(job.id).progress.done > before + 100)
    finally:
        for server in servers:
            server.send_signal(signal.SIGCONT)
    ended = client.wait(job.id, timeout=180)
    assert ended.state is JobState.SUCCEEDED, ended.message
    history = MlflowClient(running.state.tracking_uri).get_metric_history(ended.mlflow_run_id, "accuracy")
    assert len({metric.step for metric in history}) == 80


def test_a_sweep_makes_child_runs_and_a_version_of_its_best_trial(running):
    client = running.client
    job = client.wait(client.submit(EXAMPLES / "sweep.yaml").id, timeout=240)
    assert job.state is JobState.SUCCEEDED, job.message
    trials = client.trials(job.id)
    assert len(trials) == 8
    best = max(trial.metrics["accuracy"] for trial in trials)
    version = next(v for v in client.versions("digits") if v.version == job.model_version)
    # A trial shows its last epoch; the version is its best one.
    assert version.metrics["accuracy"] >= best


def test_promotion_rolls_a_deployment_over_without_a_failed_request(running, trained):
    client = running.client
    first, second = sorted(version.version for version in client.versions("digits"))[:2]
    client.promote("digits", first)
    client.deploy("digits", DeploymentSpec(model="digits"))
    assert client.wait_deployed("digits", first, timeout=120).state is DeploymentState.READY
    images, labels = digits_test_set()
    statuses, seen, over = [], set(), threading.Event()

    def ask():
        body = {"inputs": [{"name": "input", "shape": [1, 64], "datatype": "FP32", "data": images[0].ravel().tolist()}]}
        headers = {"Authorization": f"Bearer {running.state.api_token}"}
        with httpx.Client(base_url=running.state.api_url, headers=headers, timeout=30) as http:
            while not over.is_set():
                answer = http.post("/v2/models/digits/infer", json=body)
                statuses.append(answer.status_code)
                seen.add(answer.json().get("model_version"))

    askers = [threading.Thread(target=ask) for _ in range(2)]
    for asker in askers:
        asker.start()
    client.promote("digits", second)
    eventually(lambda: client.deployment("digits").served_version == second)
    client.rollback("digits")
    eventually(lambda: client.deployment("digits").served_version == first)
    over.set()
    for asker in askers:
        asker.join()
    assert set(statuses) == {200}
    assert seen == {str(first), str(second)}
    scores = np.asarray(next(iter(client.predict("digits", {"input": images}).values()))).reshape(-1, 10)
    held = next(v for v in client.versions("digits") if v.version == first).metrics["accuracy"]
    assert (scores.argmax(axis=1) == labels).mean() == pytest.approx(held)


def test_deleting_a_deployment_lets_its_worker_go(running, trained):
    client = running.client
    client.undeploy("digits")
    client.undeploy("digits")
    eventually(lambda: running.workers() == 0)
    with pytest.raises(ApiError) as caught:
        client.deployment("digits")
    assert caught.value.status == 404


def test_ray_job_submit_gives_the_same_result_without_the_platform(running):
    environment = {**os.environ, **running.state.shell_environment()}
    ray = Path(sys.executable).parent / "ray"
    command = [ray, "job", "submit", "--working-dir", ".", "--", "python", "-m", "jobs.train", "--spec"]
    root = EXAMPLES.parents[1]
    done = subprocess.run(
        [*command, "jobs/examples/ddp.yaml"], cwd=root, env=environment, text=True, capture_output=True, timeout=200
    )
    assert done.returncode == 0, done.stdout + done.stderr
    newest = running.client.versions("digits")[0]
    assert newest.metrics["accuracy"] >= 0.95
    assert not any(job.id == newest.job_id for job in running.client.jobs().items)


def test_a_working_directory_goes_along_and_its_model_can_be_served(running, tmp_path):
    (tmp_path / "mine.py").write_text(
        "from jobs.workloads import digits\n\ndef workload(config):\n    return digits.make(config)\n"
    )
    client = running.client
    spec = {**QUICK, "name": "mine", "workload": "mine:workload", "registered_model": "mine"}
    job = client.wait(client.submit(spec, working_dir=tmp_path).id, timeout=180)
    assert job.state is JobState.SUCCEEDED, job.message
    assert job.model_version == 1


@pytest.mark.parametrize(
    ("changes", "reason", "words"),
    [
        ({"workload": "nowhere.to_be:found"}, Reason.IMPORT_FAILED, "nowhere"),
        ({"objective": {"metric": "f1", "mode": "max"}}, Reason.METRIC_MISSING, "accuracy"),
    ],
)
def test_what_can_only_be_known_on_a_worker_fails_with_a_reason_and_the_logs_tail(running, changes, reason, words):
    client = running.client
    job = client.wait(client.submit({**QUICK, "name": "wrong", **changes}).id, timeout=120)
    assert (job.state, job.reason) == (JobState.FAILED, reason)
    assert words in job.message
    assert [event for event in client.events(job.id) if event.kind == "log-tail"]


def test_a_running_job_stops_and_a_second_stop_gives_the_same_answer(running):
    client = running.client
    job = client.submit({**QUICK, "name": "endless", "epochs": 100_000})
    eventually(lambda: (now := client.job(job.id)).progress and now.progress.done)
    client.stop(job.id)
    ended = client.wait(job.id, timeout=60)
    assert ended.state is JobState.STOPPED
    assert client.stop(job.id) == ended


def test_the_command_line_answers_people_and_scripts(running):
    listed = running.slipway("jobs", "--json")
    assert listed.returncode == 0
    assert '"state"' in listed.stdout
    assert running.slipway("job", "no-such-job").returncode == 3
    refused = running.slipway("submit", "/dev/stdin", input="{name: x, workload: 'a:b', resources: {num_workers: 99}}")
    assert refused.returncode == 2
    assert "resources.num_workers" in refused.stderr
