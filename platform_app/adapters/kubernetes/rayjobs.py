"""The port `JobRunner` over RayJobs: each attempt is a RayJob of its own, in its team's namespace.

KubeRay's operator makes the cluster, submits the very same Ray job to it, and takes the cluster down at the end. What
the job writes is the output of its submitter's pod, which outlives the cluster.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any

from platform_app.adapters.kubernetes.api import PODS, RAY_JOBS, KubernetesApi, Object
from platform_app.adapters.kubernetes.refusals import ApiError
from platform_app.dedicated import MANAGED_BY
from platform_app.domain.causes import CAUSES
from platform_app.domain.explain import Sign, Source, explain
from platform_app.domain.job import Reason
from platform_app.domain.preflight import preflight
from platform_app.errors import PermanentError, TemporaryError
from platform_app.ports import RayJobObservation, RayJobRequest, RayJobStatus

OURS = ",".join(f"{name}={value}" for name, value in MANAGED_BY.items())
"""Label selector of what the control plane creates."""

_SUBMITTER = "ray-job-submitter"
_PAUSE_SECONDS = 2.0
"""Between two looks at a log that is followed; the API server gives it whole each time."""
_CLUSTER_LOST = {
    "AppFailed",
    "SubmissionFailed",
    "JobStatusCheckTimeoutExceeded",
    "JobDeploymentStatusTransitionGracePeriodExceeded",
}
"""Reasons of the operator that, of a job that Ray never saw end, speak of its cluster: the head was evicted, killed or
never reached. A job whose cluster is lost again and again fails all the same."""


class KubeRayJobs:
    """RayJobs in all namespaces that this control plane created."""

    def __init__(self, api: KubernetesApi) -> None:
        self._api = api
        self._namespaces: dict[str, str] = {}
        """Where each RayJob was last seen, by submission id."""
        self._heads: dict[str, str] = {}
        """Pod of each cluster's head as it was first seen while the job ran, by submission id."""

    def submit(self, request: RayJobRequest) -> None:
        """Create the attempt's RayJob; nothing happens when it is there already.

        Raises:
            TemporaryError: Kubernetes is away, or does not take it now: a quota, a permission, a missing namespace.
            PermanentError: it would never be taken.
        """
        if request.manifest is None:
            raise ValueError(f"{request.submission_id} is no dedicated job: it has no manifest")
        if problems := preflight(request.manifest):
            told = "; ".join(f"{problem.field}: {problem.message}" for problem in problems)
            raise PermanentError(f"the KubeRay operator would refuse it: {told}")
        namespace = request.manifest["metadata"]["namespace"]
        try:
            self._api.create(RAY_JOBS, request.manifest, namespace)
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise _submission_error(error, namespace) from error
            self._check_ours(request.submission_id, namespace)
        self._namespaces[request.submission_id] = namespace

    def observe(self) -> Mapping[str, RayJobObservation]:
        """Say how each RayJob is. The cache is asked first; whether one is really gone, where it is certain."""
        jobs = self._list(resourceVersion="0") if self._namespaces else self._list()
        if self._namespaces.keys() - jobs.keys():
            jobs = self._list()
        self._namespaces = {name: job["metadata"]["namespace"] for name, job in jobs.items()}
        self._heads = {name: head for name, head in self._heads.items() if name in jobs}
        return {name: self._observation(name, job.get("status") or {}) for name, job in jobs.items()}

    def stop(self, submission_id: str) -> None:
        """Delete the RayJob: the operator stops the job, and its cluster goes with it."""
        if namespace := self._namespace(submission_id):
            self._api.delete(RAY_JOBS, submission_id, namespace)

    def release(self, submission_id: str) -> None:
        """Delete the RayJob of an attempt that has ended, with its submitter and what is left of its cluster."""
        self.stop(submission_id)

    def logs(self, submission_id: str) -> str | None:
        """Read what the submitter's pod has told of the job so far."""
        namespace = self._namespace(submission_id)
        if namespace is None:
            return None
        # The operator names the submitter's Job as the RayJob; Kubernetes labels the pods of a Job with its name.
        pods = self._api.list(PODS, namespace, labelSelector=f"job-name={submission_id}")
        newest = max(pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp")), default=None)
        return (self._api.log(newest["metadata"]["name"], namespace, _SUBMITTER) or "") if newest else ""

    async def tail(self, submission_id: str) -> AsyncIterator[str]:
        """Stream the output from its beginning until the attempt ends or is gone."""
        seen = 0
        while True:
            # Whether it has ended is asked first: what is read after that is all there will ever be.
            over = await asyncio.to_thread(self._is_over, submission_id)
            text = await asyncio.to_thread(self.logs, submission_id) or ""
            if len(text) > seen:
                yield text[seen:]
                seen = len(text)
            if over:
                return
            await asyncio.sleep(_PAUSE_SECONDS)

    def _list(self, **query: str) -> dict[str, Object]:
        return {job["metadata"]["name"]: job for job in self._api.list(RAY_JOBS, labelSelector=OURS, **query)}

    def _namespace(self, submission_id: str) -> str | None:
        """Find the namespace of a RayJob; None where there is no such RayJob of ours."""
        if submission_id not in self._namespaces:
            found = self._api.list(RAY_JOBS, labelSelector=OURS, fieldSelector=f"metadata.name={submission_id}")
            return str(found[0]["metadata"]["namespace"]) if found else None
        return self._namespaces[submission_id]

    def _is_over(self, submission_id: str) -> bool:
        namespace = self._namespace(submission_id)
        job = self._api.get(RAY_JOBS, submission_id, namespace) if namespace else None
        status = (job or {}).get("status") or {}
        return job is None or observation(status).status not in (RayJobStatus.PENDING, RayJobStatus.RUNNING)

    def _check_ours(self, name: str, namespace: str) -> None:
        there = self._api.get(RAY_JOBS, name, namespace)
        if there and not MANAGED_BY.items() <= there["metadata"].get("labels", {}).items():
            raise PermanentError(f"namespace {namespace} has a RayJob {name} that someone else created: delete it")

    def _observation(self, name: str, status: Mapping[str, Any]) -> RayJobObservation:
        """Say how one RayJob is, its head watched: the operator takes five minutes to notice that it was replaced."""
        seen = observation(status)
        head = status.get("rayClusterStatus", {}).get("head", {}).get("podName")
        if seen.status is not RayJobStatus.RUNNING or not head:
            return seen
        if self._heads.setdefault(name, head) != head:
            return RayJobObservation(RayJobStatus.FAILED, "its head was replaced", Reason.CLUSTER_LOST)
        return seen


def observation(status: Mapping[str, Any]) -> RayJobObservation:
    """Read a RayJob's status.

    It has ended when the operator says so: then the submitter has ended too, and its output is whole.
    """
    phase, ray, reason = (status.get(name) or "" for name in ("jobDeploymentStatus", "jobStatus", "reason"))
    message = status.get("message") or ""
    if phase in ("Complete", "Failed") and ray in ("SUCCEEDED", "FAILED", "STOPPED"):
        return RayJobObservation(RayJobStatus(ray), message)
    if phase == "Failed" and reason in _CLUSTER_LOST:
        return RayJobObservation(RayJobStatus.FAILED, f"{reason}: {message}", Reason.CLUSTER_LOST)
    if phase == "ValidationFailed":
        told = f"the KubeRay operator refuses it: {message}"
        return RayJobObservation(RayJobStatus.FAILED, told, Reason.SUBMISSION_REFUSED)
    if phase in ("Complete", "Failed"):
        return RayJobObservation(RayJobStatus.FAILED, f"{reason or phase}: {message}", Reason.DRIVER_FAILED)
    if phase == "Running" and ray and ray != "PENDING":
        return RayJobObservation(RayJobStatus.RUNNING, message)
    return RayJobObservation(RayJobStatus.PENDING, f"{phase}: {message}" if message else phase)


def _submission_error(error: ApiError, namespace: str) -> Exception:
    """Say what it means that a RayJob was not taken."""
    if unknown := re.findall(r'unknown field "([^"]+)"', error.told):
        fields = ", ".join(unknown)
        return TemporaryError(
            f"the cluster's rayjobs.ray.io is older than KubeRay 1.7 and does not know {fields}: "
            "upgrade its CRDs (kubectl apply --server-side) and the operator"
        )
    if error.status in (400, 422):
        return PermanentError(f"Kubernetes refuses the RayJob: {error.told}")
    if error.is_absence:
        return TemporaryError(f"there is no namespace {namespace}: apply its team's manifests (k8s/)")
    found = explain([Sign(Source.API, error.reason, error.told)], CAUSES) if error.status == 403 else ()
    return TemporaryError(found[0].sentence) if found and found[0].cause != "api-away" else error
