"""Pure rendering: from what a user wants to what is sent. Sending is an adapter's; a dry run shows the same value."""

import shlex
from dataclasses import dataclass
from typing import Any

from platform_app.domain.deployment import Deployment
from platform_app.domain.job import Job
from platform_app.ports import RayJobRequest
from platform_app.specs import ServedModel, digest

JOB_ENV = {
    # A driver that is asked to stop ends its MLflow run first; the default of 3 s is too short for that.
    "RAY_JOB_STOP_WAIT_TIME_S": "10",
    "RAY_TRAIN_ENABLE_STATE_TRACKING": "1",
    "PYTHONUNBUFFERED": "1",
}
"""Environment of every job; a cluster's head has it too, for jobs that are submitted straight to Ray."""


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


def ray_job(job: Job, context: LaunchContext, working_dir_uri: str | None) -> RayJobRequest:
    """Render a job's newest attempt as a Ray job.

    Args:
        job: an admitted job; it has an attempt.
        context: where storage and MLflow are.
        working_dir_uri: URI of the job's uploaded working directory; None when it has none.
    """
    if job.attempt is None or job.submission_id is None:
        raise ValueError(f"{job.id} has no attempt to render")
    runtime_env: dict[str, Any] = {
        "env_vars": {
            **JOB_ENV,
            **job.spec.env_vars,
            "MLFLOW_TRACKING_URI": context.tracking_uri,
            "SLIPWAY_STORAGE": context.storage,
            "SLIPWAY_JOB_ID": job.id,
            "SLIPWAY_ATTEMPT": str(job.attempt.number),
        }
    }
    if working_dir_uri:
        runtime_env["working_dir"] = working_dir_uri
    if job.spec.pip:
        runtime_env["pip"] = list(job.spec.pip)
    program = "jobs.sweep" if job.spec.kind == "sweep" else "jobs.train"
    return RayJobRequest(
        submission_id=job.submission_id,
        entrypoint=f"python -m {program} --spec {shlex.quote(job.spec.model_dump_json())}",
        runtime_env=runtime_env,
        metadata={"slipway_job": job.id, "slipway_tier": job.spec.tier, "slipway_spec": digest(job.spec)},
    )


def served_model(
    deployment: Deployment, version: int, tracking_uri: str, token_digests: tuple[str, ...]
) -> ServedModel:
    """Render a deployment at one version as the argument of the serving application's builder."""
    return ServedModel(
        deployment=deployment.name,
        spec=deployment.spec,
        version=version,
        tracking_uri=tracking_uri,
        token_digests=token_digests,
    )
