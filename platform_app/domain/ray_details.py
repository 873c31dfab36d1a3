"""A job as Ray's own clients see it: `ray.dashboard.modules.job.pydantic_models.JobDetails` (Ray 2.60), as values.

What Ray tells of its insides (driver's node, process and agent) is left out: nobody outside reaches those.
"""

import re
from typing import Any

from platform_app.domain.job import Job, JobState, Reason
from platform_app.specs import CommandSpec

_STATUS = {
    JobState.QUEUED: "PENDING",
    JobState.PENDING: "PENDING",
    JobState.RUNNING: "RUNNING",
    # To Ray a job runs until it has stopped.
    JobState.STOPPING: "RUNNING",
    JobState.SUCCEEDED: "SUCCEEDED",
    JobState.FAILED: "FAILED",
    JobState.STOPPED: "STOPPED",
}
_ERROR_TYPES = {
    Reason.RUNTIME_ENV_FAILED: "RUNTIME_ENV_SETUP_FAILURE",
    Reason.SUBMISSION_REFUSED: "JOB_SUPERVISOR_ACTOR_START_FAILURE",
    Reason.DRIVER_FAILED: "JOB_SUPERVISOR_ACTOR_UNKNOWN_FAILURE",
}
_EXIT_CODE = re.compile(r"failed with exit code (-?\d+)$")
_LAST_LINES, _LAST_CHARACTERS = 10, 20_000
"""How much of its output Ray repeats in the message of a job that failed."""


def details(job: Job, entrypoint: str) -> dict[str, Any]:
    """Give Ray's fields of a job that was submitted by Ray's door or any other."""
    failed = job.state is JobState.FAILED and job.reason is not None
    return {
        "type": "SUBMISSION",
        "job_id": None,
        "submission_id": job.door_id,
        "driver_info": None,
        "status": _STATUS[job.state],
        "entrypoint": entrypoint,
        "message": _message(job),
        "error_type": _ERROR_TYPES.get(job.reason, "JOB_ENTRYPOINT_COMMAND_ERROR") if failed and job.reason else None,
        "start_time": int(job.created_at.timestamp() * 1000),
        "end_time": int(job.ended_at.timestamp() * 1000) if job.ended_at else None,
        "metadata": job.spec.metadata if isinstance(job.spec, CommandSpec) else {},
        "runtime_env": _runtime_env(job),
        "driver_agent_http_address": None,
        "driver_node_id": None,
        "driver_exit_code": exit_code(job),
    }


def exit_code(job: Job) -> int | None:
    """Give the exit code of a driver that ended by itself, as far as it is known."""
    if job.state is JobState.SUCCEEDED:
        return 0
    found = _EXIT_CODE.search(job.message) if job.state is JobState.FAILED else None
    return int(found[1]) if found else None


def with_last_lines(message: str, output: str) -> str:
    """End the message of a command that failed as Ray does: with the end of its output."""
    lines = "".join(output.splitlines(keepends=True)[-_LAST_LINES:])[-_LAST_CHARACTERS:]
    if not lines:
        return f"{message}. No logs available."
    return f"{message}, last available logs (truncated to 20,000 chars):\n{lines}"


def _message(job: Job) -> str:
    match _STATUS[job.state]:
        case "PENDING":
            return f"Job has not started yet. {job.message}".rstrip()
        case "RUNNING":
            return job.message or "Job is currently running."
        case "SUCCEEDED":
            return "Job finished successfully."
        case "STOPPED":
            return "Job was intentionally stopped."
    return job.message or "Job failed."


def _runtime_env(job: Job) -> dict[str, Any]:
    """Give the runtime environment as it was asked for."""
    spec = job.spec
    asked: dict[str, Any] = dict(spec.runtime_env) if isinstance(spec, CommandSpec) else {}
    if spec.working_dir:
        asked["working_dir"] = spec.working_dir
    if spec.env_vars:
        asked["env_vars"] = {**(asked.get("env_vars") or {}), **spec.env_vars}
    if spec.pip:
        asked["pip"] = list(spec.pip)
    return asked
