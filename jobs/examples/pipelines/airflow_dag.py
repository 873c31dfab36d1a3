"""Train, sweep, evaluate, promote, as an Airflow DAG that needs nothing but HTTP.

Copy it into your DAGs' folder and set the variables SLIPWAY_URL and SLIPWAY_TOKEN in the workers' environment. The
run's id is part of each idempotency key: a task that Airflow tries again finds the job that it submitted before.
"""

import json
import os
import urllib.request
from datetime import datetime
from typing import Any

from airflow.sdk import dag, get_current_context, task  # type: ignore[import-not-found]  # in Airflow's environment

MODEL = "pipeline-digits"
LEAST_ACCURACY = 0.9

COMMON = {
    "workload": "jobs.workloads.digits:make",
    "epochs": 3,
    "objective": {"metric": "accuracy", "mode": "max"},
    "registered_model": MODEL,
}
TRAIN = {**COMMON, "kind": "train", "name": "pipeline-train"}
SWEEP = {
    **COMMON,
    "kind": "sweep",
    "name": "pipeline-sweep",
    "space": {"lr": {"type": "loguniform", "low": 0.001, "high": 0.03}},
    "search": {"algorithm": "random", "num_samples": 2, "max_concurrent": 2, "seed": 7},
    "resources": {"gpus_per_worker": 0.5},
}


def call(method: str, path: str, body: dict[str, Any] | None = None, key: str = "") -> Any:
    """Ask the platform; an HTTP error fails the task with the problem that the platform tells of."""
    request = urllib.request.Request(  # noqa: S310  # the platform's own address
        os.environ["SLIPWAY_URL"] + path,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={
            "Authorization": f"Bearer {os.environ['SLIPWAY_TOKEN']}",
            "Content-Type": "application/json",
            **({"Idempotency-Key": key} if key else {}),
        },
    )
    with urllib.request.urlopen(request, timeout=90) as answer:  # noqa: S310
        return json.load(answer)


def run(spec: dict[str, Any], key: str) -> int:
    """Submit a job, wait for its end, and give the model version that it made."""
    job = call("POST", "/v1/jobs", spec, key)
    while job["state"] not in ("SUCCEEDED", "FAILED", "STOPPED"):
        job = call("GET", f"/v1/jobs/{job['id']}?wait=60")
    if job["state"] != "SUCCEEDED":
        raise RuntimeError(call("GET", f"/v1/jobs/{job['id']}/explain")["why"])
    return int(job["model_version"])


def chosen(versions: list[int]) -> int:
    """Give the better of the versions, if it is good enough. Raises RuntimeError where none is."""
    known = {one["version"]: one["metrics"]["accuracy"] for one in call("GET", f"/v1/models/{MODEL}/versions")}
    best = max(versions, key=lambda version: known[version])
    if known[best] < LEAST_ACCURACY:
        raise RuntimeError(f"version {best} has an accuracy of {known[best]:.3f}; at least {LEAST_ACCURACY} is wanted")
    return best


@dag(schedule="@daily", start_date=datetime(2026, 1, 1), catchup=False, max_active_runs=1)
def slipway_pipeline() -> None:
    """Train and sweep side by side, then promote the better model."""

    @task(retries=2)
    def train() -> int:
        return run(TRAIN, f"{get_current_context()['run_id']}-train")

    @task(retries=2)
    def sweep() -> int:
        return run(SWEEP, f"{get_current_context()['run_id']}-sweep")

    @task
    def evaluate(trained: int, swept: int) -> int:
        return chosen([trained, swept])

    @task(retries=2)
    def promote(version: int) -> None:
        call("POST", f"/v1/models/{MODEL}/promote", {"version": version})

    promote(evaluate(train(), sweep()))


slipway_pipeline()
