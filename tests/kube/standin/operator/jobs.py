"""RayJobs: a cluster of their own, a job on it, and what becomes of both.

The stand-in submits over HTTP in every mode. In `K8sJobMode` the submitter's Kubernetes Job and pod are there too, so
that quotas see them and `pods/log` gives the job's output; no process stands behind that pod.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from tests.kube.standin.api.errors import ApiError
from tests.kube.standin.api.objects import Api, now
from tests.kube.standin.events import Recorder
from tests.kube.standin.operator.dashboard import Dashboard, Unreachable
from tests.kube.standin.operator.job_status import ENDED, age, overruled, request, retry, suffix, told
from tests.kube.standin.operator.job_validation import job_problem
from tests.kube.standin.operator.pods import owner
from tests.kube.standin.operator.submitter import Submitter
from tests.kube.standin.operator.validation import name_problem

LONGEST_NAME = 47

_FINALIZER = "ray.io/rayjob-finalizer"
_CHECK_TIMEOUT_SECONDS = 300.0

Object = dict[str, Any]


class Jobs:
    """Reconciles RayJobs."""

    def __init__(
        self,
        api: Api,
        recorder: Recorder,
        dashboard: Callable[[Object], Dashboard | None],
        submitter: Submitter,
        localize: Callable[[str], str],
    ) -> None:
        """Take a way to a cluster's dashboard, None while its head is not up, and to a job's texts as run here."""
        self._api = api
        self._recorder = recorder
        self._dashboard = dashboard
        self._submitter = submitter
        self._localize = localize
        self._unreachable_since: dict[str, float] = {}

    async def step(self) -> None:
        """Bring every RayJob one step nearer to its end."""
        await asyncio.gather(*(self._reconcile(job) for job in self._api.list(self._kind, None)))

    @property
    def _kind(self) -> Any:
        return self._api.kinds.named("rayjobs.ray.io")

    async def _reconcile(self, job: Object) -> None:
        metadata, spec = job["metadata"], job["spec"]
        if (spec.get("managedBy") or "ray.io/kuberay-operator") != "ray.io/kuberay-operator":
            return
        if metadata.get("deletionTimestamp"):
            await self._let_go(job)
            return
        status = dict(job.get("status") or {})
        if status.get("jobDeploymentStatus") == "ValidationFailed":
            return
        name = name_problem("RayJob", metadata["name"], LONGEST_NAME)
        problem = f"The RayJob metadata is invalid: {name}" if name else job_problem(spec)
        if problem:
            reason = "InvalidRayJobMetadata" if name else "InvalidRayJobSpec"
            self._recorder.warning(job, reason, f"{metadata['namespace']}/{metadata['name']}: {problem}", "Validate")
            status |= {"jobDeploymentStatus": "ValidationFailed", "reason": "ValidationFailed", "message": problem}
        else:
            try:
                status = await self._next(job, status)
            except ApiError:
                return  # said in an event; tried again with the next step
            retry(spec, status, before=(job.get("status") or {}).get("jobDeploymentStatus", ""))
        if status != (job.get("status") or {}):
            self._api.set_status(self._kind, job, status)

    async def _next(self, job: Object, status: Object) -> Object:
        match status.get("jobDeploymentStatus", ""):
            case "" | "New":
                return self._begin(job, status)
            case "Initializing":
                return overruled(job["spec"], status) or await self._initialize(job, status)
            case "Waiting":
                given = job["spec"].get("jobId")
                return {**status, "jobId": given, "jobDeploymentStatus": "Running"} if given else status
            case "Running":
                return overruled(job["spec"], status) or await self._observe(job, status)
            case "Suspending" | "Retrying":
                return self._clear(job, status)
            case "Suspended" if not job["spec"].get("suspend"):
                return {**status, "jobStatus": "", "jobDeploymentStatus": "New"}
            case "Complete" | "Failed":
                self._tidy(job, status)
        return status

    def _begin(self, job: Object, status: Object) -> Object:
        spec, name = job["spec"], job["metadata"]["name"]
        if _FINALIZER not in (job["metadata"].get("finalizers") or ()):
            finalizers = [*(job["metadata"].get("finalizers") or ()), _FINALIZER]
            self._api.patch(self._kind, job["metadata"]["namespace"], name, {"metadata": {"finalizers": finalizers}})
        if spec.get("suspend"):
            return {**status, "jobDeploymentStatus": "Suspended"}
        selected = (spec.get("clusterSelector") or {}).get("ray.io/cluster")
        new = {"rayClusterName": selected or f"{name}-{suffix()}", "jobDeploymentStatus": "Initializing"}
        if spec.get("submissionMode") != "InteractiveMode":
            new["jobId"] = spec.get("jobId") or f"{name}-{suffix()}"
        return {**status, **new, "startTime": now()}

    async def _initialize(self, job: Object, status: Object) -> Object:
        cluster = self._cluster(job, status) or self._create_cluster(job, status)
        if cluster is None:
            return status
        status = {**status, "rayClusterStatus": cluster.get("status") or {}}
        dashboard = self._dashboard(cluster)
        if (cluster.get("status") or {}).get("state") != "ready" or dashboard is None:
            return status
        status["dashboardURL"] = dashboard.address
        mode = job["spec"].get("submissionMode") or "K8sJobMode"
        if mode == "InteractiveMode":
            return {**status, "jobDeploymentStatus": "Waiting"}
        if mode == "K8sJobMode":
            self._submitter.ensure(job, cluster, self._recorder)
        return {**status, "jobDeploymentStatus": "Running"}

    def _create_cluster(self, job: Object, status: Object) -> Object | None:
        metadata, name = job["metadata"], status["rayClusterName"]
        where = f"{metadata['namespace']}/{name}"
        if job["spec"].get("clusterSelector"):
            message = f"RayCluster {where} set in the clusterSelector is not found. It must be created manually"
            self._recorder.warning(job, "RayClusterNotFound", message, "Validate")
            return None
        labels = {"ray.io/originated-from-cr-name": metadata["name"], "ray.io/originated-from-crd": "RayJob"}
        labels = {**(metadata.get("labels") or {}), **labels}
        about = {
            "name": name,
            "labels": labels,
            "annotations": metadata.get("annotations") or {},
            "ownerReferences": [owner(job)],
        }
        try:
            kind = self._api.kinds.named("rayclusters.ray.io")
            created = self._api.create(
                kind, metadata["namespace"], {"metadata": about, "spec": job["spec"]["rayClusterSpec"]}
            )
        except ApiError as error:
            self._recorder.warning(
                job, "FailedToCreateRayCluster", f"Failed to create RayCluster {where}: {error}", "Create"
            )
            raise
        self._recorder.normal(job, "CreatedRayCluster", f"Created RayCluster {where}", "Create")
        return created

    async def _observe(self, job: Object, status: Object) -> Object:
        cluster = self._cluster(job, status)
        if cluster is None:
            return {
                **status,
                "jobDeploymentStatus": "Failed",
                "reason": "AppFailed",
                "message": "the RayCluster is gone",
            }
        dashboard, uid = self._dashboard(cluster), job["metadata"]["uid"]
        try:
            if dashboard is None:
                raise Unreachable("the head is not up")
            seen = await dashboard.job(status["jobId"])
            if seen is None:
                await dashboard.submit(request(job["spec"], status["jobId"], self._localize))
                return status
            await self._submitter.follow(job, dashboard, status["jobId"], seen["status"] in ENDED)
        except Unreachable as error:
            since = self._unreachable_since.setdefault(uid, time.monotonic())
            if time.monotonic() - since < _CHECK_TIMEOUT_SECONDS:
                return status
            reason = "JobStatusCheckTimeoutExceeded"
            return {**status, "jobDeploymentStatus": "Failed", "reason": reason, "message": str(error)}
        self._unreachable_since.pop(uid, None)
        return {**status, **told(seen), "rayClusterStatus": cluster.get("status") or {}}

    def _clear(self, job: Object, status: Object) -> Object:
        if not self._delete_cluster(job, status) or not self._submitter.remove(job):
            return status
        kept = {key: status[key] for key in ("failed", "succeeded", "observedGeneration") if key in status}
        after = "Suspended" if status["jobDeploymentStatus"] == "Suspending" else "New"
        return {**kept, "jobStatus": "", "jobDeploymentStatus": after}

    def _tidy(self, job: Object, status: Object) -> None:
        spec = job["spec"]
        if spec.get("clusterSelector"):
            return
        ended = age(status.get("endTime") or status.get("startTime"))
        if spec.get("shutdownAfterJobFinishes") and ended >= (spec.get("ttlSecondsAfterFinished") or 0):
            self._delete_cluster(job, status)
        for rule in (spec.get("deletionStrategy") or {}).get("deletionRules") or ():
            condition = rule["condition"]
            met = (
                condition.get("jobStatus") == status.get("jobStatus")
                if "jobStatus" in condition
                else (condition.get("jobDeploymentStatus") == status["jobDeploymentStatus"])
            )
            if met and ended >= condition.get("ttlSeconds", 0):
                if rule["policy"] == "DeleteCluster":
                    self._delete_cluster(job, status)
                elif rule["policy"] == "DeleteSelf":
                    self._api.delete(self._kind, job["metadata"]["namespace"], job["metadata"]["name"])

    def _delete_cluster(self, job: Object, status: Object) -> bool:
        """Delete a job's cluster; True when it and its pods are gone."""
        namespace, name = job["metadata"]["namespace"], status.get("rayClusterName") or ""
        if cluster := self._cluster(job, status):
            if not cluster["metadata"].get("deletionTimestamp"):
                self._api.delete(self._api.kinds.named("rayclusters.ray.io"), namespace, name)
                self._recorder.normal(job, "DeletedRayCluster", f"Deleted cluster {namespace}/{name}", "Delete")
            return False
        return not self._api.list(self._api.kinds.named("pods"), namespace, f"ray.io/cluster={name}")

    async def _let_go(self, job: Object) -> None:
        status = job.get("status") or {}
        cluster = self._cluster(job, status)
        if cluster and status.get("jobId") and status.get("jobStatus") not in ENDED:
            try:
                if dashboard := self._dashboard(cluster):
                    await dashboard.stop(status["jobId"])
            except Unreachable:
                pass  # its cluster goes with it
        left = [one for one in job["metadata"].get("finalizers") or () if one != _FINALIZER]
        try:
            metadata = job["metadata"]
            self._api.patch(self._kind, metadata["namespace"], metadata["name"], {"metadata": {"finalizers": left}})
        except ApiError:
            pass  # gone

    def _cluster(self, job: Object, status: Object) -> Object | None:
        return self._api.find("rayclusters.ray.io", job["metadata"]["namespace"], status.get("rayClusterName") or "")
