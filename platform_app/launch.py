"""Pure rendering: from what a user wants to what is sent. Sending is an adapter's; a dry run shows the same value."""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from platform_app.domain.capacity import eligible
from platform_app.domain.deployment import Deployment
from platform_app.domain.job import Job
from platform_app.domain.rollout import Phase, Rollout
from platform_app.ports import RayJobRequest
from platform_app.specs import (
    AnyJobSpec,
    Candidate,
    Catalog,
    CommandSpec,
    RolloutSpec,
    ServedModel,
    Split,
    Strategy,
    digest,
)

JOB_ENV = {
    # A driver that is asked to stop ends its MLflow run first; the default of 3 s is too short for that.
    "RAY_JOB_STOP_WAIT_TIME_S": "10",
    # A driver may wait for a worker as long as spot capacity is away; Ray would give it up after 15 minutes.
    "RAY_JOB_START_TIMEOUT_SECONDS": str(7 * 24 * 3600),
    "RAY_TRAIN_ENABLE_STATE_TRACKING": "1",
    "PYTHONUNBUFFERED": "1",
}
"""Environment of every job; a cluster's head has it too, for jobs that are submitted straight to Ray."""

INGRESS_ENV = {
    # Requests go straight from HAProxy to a replica, not through a proxy in Python and Ray's calls.
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    # So long a replica that goes still takes requests, until HAProxy has a list without it, which takes a tenth of a
    # second. With the default of 30 each scaling down, rollback and replacement would last that long.
    "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "2",
    # Each change of its list is a new HAProxy; the one before it ends when its last request does, or after so long: no
    # request may last longer. By default, of 2 minutes, any change anywhere would cut what takes longer.
    "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": "3600",
    # Both for models: the shortest way through a replica, on its own event loop.
    "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "serve.fast_path:middlewares",
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
}
"""Environment of all Ray processes of a cluster whose proxy is HAProxy."""


@dataclass(frozen=True)
class DedicatedContext:
    """What the clusters of dedicated jobs are made of."""

    image: str
    """Image of heads and of workers without GPUs; the same Ray and Python as the platform's own."""
    cuda_image: str
    """Image of workers with GPUs."""
    queue: str | None = None
    """Kueue's LocalQueue in each team's namespace; None without Kueue."""


@dataclass(frozen=True)
class LaunchContext:
    """Where the platform keeps things, as a job must know it."""

    storage: str
    """Path of the shared filesystem on every node."""
    tracking_uri: str
    """MLflow, as reached from the cluster."""
    dedicated: DedicatedContext | None = None
    """None where the platform has no Kubernetes: there are no dedicated jobs."""


def stock_out_env(wait_seconds: int, retry_seconds: int) -> dict[str, str]:
    """Give the variables of Ray's autoscaler for workers that do not come; by default it waits an hour for each.

    Args:
        wait_seconds: how long a worker may stay away before its group counts as out of stock.
        retry_seconds: when a group that was out of stock is preferred again.
    """
    return {
        "RAY_AUTOSCALER_RECONCILE_ALLOCATE_STATUS_TIMEOUT_S": str(wait_seconds),
        "RAY_AUTOSCALER_AVAILABILITY_RECOVERY_S": str(retry_seconds),
    }


def packages(spec: AnyJobSpec) -> frozenset[str]:
    """Name the uploaded packages that a job takes along."""
    named = spec.packages.values() if isinstance(spec, CommandSpec) else ()
    return frozenset((*named, *((spec.working_dir,) if spec.working_dir else ())))


def entrypoint(spec: AnyJobSpec) -> str:
    """Give the line that a job's driver is started with."""
    if isinstance(spec, CommandSpec):
        return spec.entrypoint
    program = "jobs.sweep" if spec.kind == "sweep" else "jobs.train"
    return f"python -m {program} --spec {shlex.quote(spec.model_dump_json())}"


def ray_job(job: Job, context: LaunchContext, catalog: Catalog, uris: Mapping[str, str] | None = None) -> RayJobRequest:
    """Render a job's newest attempt as a Ray job.

    Args:
        job: an admitted job; it has an attempt.
        context: where storage and MLflow are.
        catalog: the worker groups.
        uris: where Ray's workers fetch each of the job's `packages`; None for a job that has none.
    """
    if job.attempt is None or job.submission_id is None:
        raise ValueError(f"{job.id} has no attempt to render")
    spec, uris = job.spec, uris or {}
    ours = {
        "MLFLOW_TRACKING_URI": context.tracking_uri,
        "SLIPWAY_STORAGE": context.storage,
        "SLIPWAY_JOB_ID": job.id,
        "SLIPWAY_ATTEMPT": str(job.attempt.number),
    }
    if isinstance(spec, CommandSpec):
        runtime_env, driver = _fetched(spec, uris), _driver(spec, catalog)
        theirs = _tracked(job) | (runtime_env.get("env_vars") or {}) | spec.env_vars
    else:
        runtime_env, driver, theirs = {}, {}, spec.env_vars
    runtime_env["env_vars"] = {**JOB_ENV, **theirs, **ours}
    if spec.working_dir and spec.working_dir in uris:
        runtime_env["working_dir"] = uris[spec.working_dir]
    if spec.pip:
        runtime_env["pip"] = list(spec.pip)
    return RayJobRequest(
        submission_id=job.submission_id,
        entrypoint=entrypoint(spec),
        runtime_env=runtime_env,
        metadata={"slipway_job": job.id, "slipway_tier": spec.tier, "slipway_spec": digest(spec)},
        driver=driver,
    )


def _fetched(spec: CommandSpec, uris: Mapping[str, str]) -> dict[str, Any]:
    """Give a command's runtime environment, with the URI of each package in the place of its name."""
    places = {name: uris[package] for name, package in spec.packages.items() if package in uris}
    found: dict[str, Any] = dict(spec.runtime_env)
    if found.get("working_dir") in places:
        found["working_dir"] = places[found["working_dir"]]
    if modules := found.get("py_modules"):
        found["py_modules"] = [places.get(module, module) for module in modules]
    return found


def _tracked(job: Job) -> dict[str, str]:
    """Give the variables by which MLflow puts a command's runs into the job's experiment, and marks whose they are."""
    marks = {"slipway.job_id": job.id, "slipway.attempt": str(len(job.attempts))}
    return {"MLFLOW_EXPERIMENT_NAME": job.spec.experiment, "MLFLOW_RUN_CONTEXT": json.dumps(marks)}


def _driver(spec: CommandSpec, catalog: Catalog) -> dict[str, Any]:
    """Say where a command runs: it is a user's code, so on a worker, and on one of a group that it is charged for."""
    groups = [group.name for group in eligible(catalog, spec.driver)]
    return {
        "entrypoint_num_cpus": spec.driver.cpus_per_worker,
        "entrypoint_num_gpus": spec.driver.gpus_per_worker,
        **({"entrypoint_memory": spec.driver_memory} if spec.driver_memory else {}),
        "entrypoint_label_selector": {"ray.io/node-group": f"in({','.join(groups)})"},
    }


def served_model(deployment: Deployment, tracking_uri: str, token_digests: tuple[str, ...]) -> ServedModel:
    """Render a deployment that has a target version, with its rollout, as the argument of the application's builder."""
    if deployment.target_version is None:
        raise ValueError(f"{deployment.name} has no version to serve")
    rollout = deployment.active_rollout
    candidate = None
    if rollout and not rollout.is_direct:
        candidate = Candidate(version=rollout.candidate_version, revision=rollout.revision)
    return ServedModel(
        deployment=deployment.name,
        spec=deployment.spec,
        version=deployment.target_version,
        tracking_uri=tracking_uri,
        token_digests=token_digests,
        revision=max(1, deployment.revision),
        candidate=candidate,
        split=_split(rollout, candidate, deployment.spec.rollout) if rollout and candidate else None,
    )


def _split(rollout: Rollout, candidate: Candidate, spec: RolloutSpec) -> Split | None:
    """Say who answers: while stable replicas are replaced, the candidate, being the same version, answers for all."""
    last = len(spec.steps) - 1
    match rollout.phase:
        case Phase.RUNNING if spec.strategy is not Strategy.IMMEDIATE:
            strategy, step = spec.strategy, min(rollout.step, last)
            weight = spec.steps[step].weight
        case Phase.PROMOTING:
            strategy, step, weight = Strategy.CANARY, last + 1, 100.0
        case _:
            return None
    return Split(candidate=candidate, strategy=strategy, weight=weight, step=step, key_header=spec.key_header)
