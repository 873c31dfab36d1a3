"""The pipeline examples against the real API over real HTTP; Airflow and Argo are played, jobs are fakes."""

import importlib.util
import os
import re
import subprocess
import sys
import threading
import time
import types
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from platform_app.ports import RayJobStatus
from tests.client.conftest import TOKEN

PIPELINES = Path(__file__).parents[2] / "jobs" / "examples" / "pipelines"
MODEL = "pipeline-digits"


@contextmanager
def working(plane, accuracy):
    """Let jobs run and make model versions while the body runs."""
    over, answers = threading.Event(), iter(accuracy)

    def work():
        while not over.wait(0.05):
            plane.tick()
            for submission_id in plane.runner.alive():
                job_id = submission_id.rpartition("-")[0]
                version = plane.registry.add_version(MODEL, job_id, {"accuracy": next(answers)})
                plane.report(job_id, 1, status="succeeded", model_version=version)
                plane.runner.finish(submission_id, RayJobStatus.SUCCEEDED)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        yield
    finally:
        over.set()
        worker.join()


@pytest.fixture
def environment(url, monkeypatch):
    monkeypatch.setenv("SLIPWAY_URL", url)
    monkeypatch.setenv("SLIPWAY_TOKEN", TOKEN)
    return os.environ


def airflow_run(monkeypatch, run_id):
    """Load the DAG with an Airflow that runs tasks as they are called."""
    sdk = types.ModuleType("airflow.sdk")
    sdk.dag = lambda **_: lambda function: function
    sdk.task = lambda function=None, **_: function or (lambda wrapped: wrapped)
    sdk.get_current_context = lambda: {"run_id": run_id}
    monkeypatch.setitem(sys.modules, "airflow", types.ModuleType("airflow"))
    monkeypatch.setitem(sys.modules, "airflow.sdk", sdk)
    spec = importlib.util.spec_from_file_location("airflow_dag", PIPELINES / "airflow_dag.py")
    spec.loader.exec_module(importlib.util.module_from_spec(spec))


def argo_run(uid):
    """Run the workflow's scripts in the order of its tasks, with what Argo puts into them, and give their output."""
    workflow = yaml.safe_load((PIPELINES / "argo.yaml").read_text())["spec"]
    templates = {one["name"]: one for one in workflow["templates"]}
    known = {"workflow.uid": uid}
    known |= {f"workflow.parameters.{one['name']}": one["value"] for one in workflow["arguments"]["parameters"]}
    results = {}
    for task in templates[workflow["entrypoint"]]["dag"]["tasks"]:
        assert set(re.findall(r"[\w-]+", task.get("depends", ""))) <= results.keys(), "tasks come in their order"
        given = {one["name"]: filled(one["value"], known) for one in task["arguments"]["parameters"]}
        template = templates[task["template"]]
        assert given.keys() == {one["name"] for one in template["inputs"]["parameters"]}
        assert {one["name"] for one in template["script"]["env"]} == {"SLIPWAY_URL", "SLIPWAY_TOKEN"}
        source = filled(template["script"]["source"], known | {f"inputs.parameters.{n}": v for n, v in given.items()})
        done = subprocess.run([sys.executable, "-"], input=source, text=True, capture_output=True, timeout=100)
        results[task["name"]] = done
        known[f"tasks.{task['name']}.outputs.result"] = done.stdout
        if done.returncode:
            break
    return results


def filled(text, known):
    """Put values in the place of `{{names}}`; a name that Argo would not know is an error."""
    return re.sub(r"\{\{([^}]+)\}\}", lambda match: known[match[1]], text)


def champion(plane):
    return plane.registry.resolve(MODEL, "champion")


def test_airflow_promotes_the_better_model_and_a_second_try_submits_nothing(environment, plane, monkeypatch, platform):
    with working(plane, (0.92, 0.97)):
        airflow_run(monkeypatch, "scheduled-1")
        airflow_run(monkeypatch, "scheduled-1")
    assert sorted(job.name for job in platform.jobs().items) == ["pipeline-sweep", "pipeline-train"]
    assert champion(plane) == 2


def test_airflow_promotes_nothing_that_is_not_good_enough(environment, plane, monkeypatch):
    with working(plane, (0.5, 0.6)), pytest.raises(RuntimeError, match=r"accuracy of 0\.600; at least 0\.9 is wanted"):
        airflow_run(monkeypatch, "scheduled-1")
    assert champion(plane) is None


def test_argo_promotes_the_better_model_and_a_second_try_submits_nothing(environment, plane, platform):
    with working(plane, (0.97, 0.92)):
        for _ in range(2):
            results = argo_run("uid-1")
            assert [done.returncode for done in results.values()] == [0, 0, 0, 0], results
    assert len(platform.jobs().items) == 2
    assert champion(plane) == 1


def test_argo_ends_a_step_with_why_its_job_failed(environment, plane):
    def fail():
        while not plane.runner.alive():
            plane.tick()
            time.sleep(0.05)
        (attempt,) = plane.runner.alive()
        plane.report(
            attempt.rpartition("-")[0], 1, status="failed", cause="user-code-failed", message="ValueError: bad"
        )
        plane.runner.finish(attempt, RayJobStatus.FAILED)
        plane.tick()

    failing = threading.Thread(target=fail)
    failing.start()
    results = argo_run("uid-2")
    failing.join()
    assert list(results) == ["train"]
    assert results["train"].stderr.strip() == "its own code failed: ValueError: bad"


def test_the_specs_of_both_are_ones_that_can_be_submitted(platform, monkeypatch, environment):
    workflow = yaml.safe_load((PIPELINES / "argo.yaml").read_text())["spec"]
    tasks = workflow["templates"][0]["dag"]["tasks"][:2]
    for task in tasks:
        (spec,) = (one["value"] for one in task["arguments"]["parameters"] if one["name"] == "spec")
        plan = platform.plan(yaml.safe_load(spec.replace("{{workflow.parameters.model}}", MODEL)))
        assert plan.placement
