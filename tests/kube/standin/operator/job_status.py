"""What a RayJob's status says next: functions of its spec, its status and the dashboard's word on it."""

import random
import string
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import yaml

from tests.kube.standin.api.objects import now

ENDED = ("SUCCEEDED", "FAILED", "STOPPED")
"""Ray's states that a job does not leave."""

_NO_RETRY = ("DeadlineExceeded", "JobStatusCheckTimeoutExceeded")

Object = dict[str, Any]


def overruled(spec: Object, status: Object) -> Object | None:
    """Say what a wish to suspend, or a deadline, makes of a job; None for nothing."""
    if spec.get("suspend"):
        return {**status, "jobDeploymentStatus": "Suspending"}
    start = status.get("startTime")
    passed = age(start)
    if (limit := spec.get("activeDeadlineSeconds")) and passed >= limit:
        message = f"The RayJob has passed the activeDeadlineSeconds. StartTime: {start}. ActiveDeadlineSeconds: {limit}"
        return {**status, "jobDeploymentStatus": "Failed", "reason": "DeadlineExceeded", "message": message}
    waiting = status["jobDeploymentStatus"] == "Initializing"
    if waiting and (limit := spec.get("preRunningDeadlineSeconds")) and passed >= limit:
        when = f"StartTime: {start}. PreRunningDeadlineSeconds: {limit}"
        message = f"The RayJob has passed the preRunningDeadlineSeconds. {when}"
        return {**status, "jobDeploymentStatus": "Failed", "reason": "PreRunningDeadlineExceeded", "message": message}
    return None


def retry(spec: Object, status: Object, before: str) -> None:
    """Count an end that is new, and try once more where the backoff limit allows it."""
    after = status.get("jobDeploymentStatus")
    if after == before or after not in ("Complete", "Failed"):
        return
    which = "succeeded" if after == "Complete" and status.get("jobStatus") == "SUCCEEDED" else "failed"
    if after == "Complete" and which == "failed":
        return  # stopped
    status[which] = status.get(which, 0) + 1
    status.setdefault("failed", 0)
    status.setdefault("succeeded", 0)
    allowed = status["failed"] < (spec.get("backoffLimit") or 0) + 1
    if after == "Failed" and spec.get("backoffLimit") is not None and allowed and status.get("reason") not in _NO_RETRY:
        status["jobDeploymentStatus"] = "Retrying"


def request(spec: Object, submission_id: str, localize: Callable[[str], str]) -> Object:
    """Give what is sent to the dashboard to submit a job."""
    request = {"submission_id": submission_id, "entrypoint": localize(spec.get("entrypoint", ""))}
    if spec.get("runtimeEnvYAML"):
        request["runtime_env"] = yaml.safe_load(localize(spec["runtimeEnvYAML"]))
    fields = {
        "metadata": "metadata",
        "entrypointNumCpus": "entrypoint_num_cpus",
        "entrypointNumGpus": "entrypoint_num_gpus",
    }
    request |= {theirs: spec[ours] for ours, theirs in fields.items() if spec.get(ours)}
    return request


def told(seen: Object) -> Object:
    """Give the status fields that follow from the dashboard's word on a job."""
    told = {
        "jobStatus": seen["status"],
        "jobDeploymentStatus": "Running",
        "message": seen.get("message") or "",
        "reason": "",
    }
    if seen["status"] in ENDED:
        failed = seen["status"] == "FAILED"
        told |= {"jobDeploymentStatus": "Failed" if failed else "Complete", "reason": "AppFailed" if failed else ""}
        told["endTime"] = _time(seen.get("end_time")) or now()
    times = {"startTime": _time(seen.get("start_time")), "endTime": _time(seen.get("end_time"))}
    return {**told, "rayJobInfo": {key: value for key, value in times.items() if value}}


def _time(milliseconds: int | None) -> str | None:
    if not milliseconds:
        return None
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def age(moment: str | None) -> float:
    """Give the seconds since a moment in Kubernetes' form; 0 for none."""
    if not moment:
        return 0.0
    return (datetime.now(UTC) - datetime.fromisoformat(moment.replace("Z", "+00:00"))).total_seconds()


def suffix() -> str:
    """Make five characters for a name of its own."""
    return "".join(random.choices(string.ascii_lowercase + string.digits, k=5))
