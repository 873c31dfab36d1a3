"""The submitter of a RayJob in `K8sJobMode`: a Kubernetes Job with one pod, which follows the job's output."""

from pathlib import Path
from typing import Any

from tests.kube.standin.api.errors import ApiError
from tests.kube.standin.api.objects import Api
from tests.kube.standin.events import Recorder
from tests.kube.standin.operator.dashboard import Dashboard
from tests.kube.standin.operator.pods import owner

NO_PROCESS = "standin/no-process"
"""Annotation of pods that the stand-in kubelet starts nothing for."""

_CONTAINER = "ray-job-submitter"

Object = dict[str, Any]


class Submitter:
    """Keeps the submitters' objects and logs."""

    def __init__(self, api: Api, logs: Path) -> None:
        """Write the logs of pod `p` in namespace `n` to `logs/n/p/ray-job-submitter.log`."""
        self._api = api
        self._logs = logs
        self._jobs = Recorder(api, "job-controller", legacy=True)

    def ensure(self, job: Object, cluster: Object, recorder: Recorder) -> None:
        """Create the Kubernetes Job and its pod where they are not there yet. Raises ApiError when quota refuses."""
        namespace, name = job["metadata"]["namespace"], job["metadata"]["name"]
        known = self._api.find("jobs", namespace, name)
        template = job["spec"].get("submitterPodTemplate") or {"spec": {"containers": [_container(cluster)]}}
        if known is None:
            body = {"metadata": {"name": name, "ownerReferences": [owner(job)]}, "spec": {"template": template}}
            known = self._api.create(self._api.kinds.named("jobs"), namespace, body)
            recorder.normal(job, "CreatedRayJobSubmitter", f"Created Kubernetes Job {namespace}/{name}", "Create")
        if not self._pod(job):
            metadata = {
                "generateName": f"{name}-",
                "labels": {"job-name": name, "batch.kubernetes.io/job-name": name},
                "annotations": {NO_PROCESS: "true"},
                "ownerReferences": [owner(known)],
            }
            spec = {"restartPolicy": "Never", **template["spec"]}
            try:
                self._api.create(self._api.kinds.named("pods"), namespace, {"metadata": metadata, "spec": spec})
            except ApiError as error:
                self._jobs.warning(known, "FailedCreate", f"Error creating: {error}")
                raise

    async def follow(self, job: Object, dashboard: Dashboard, submission_id: str, ended: bool) -> None:
        """Copy the job's output to the submitter's log, and end its pod with the job."""
        pod = self._pod(job)
        if pod is None or (pod["status"].get("phase") == "Succeeded"):
            return
        folder = self._logs / pod["metadata"]["namespace"] / pod["metadata"]["name"]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{pod['spec']['containers'][0]['name']}.log").write_text(await dashboard.logs(submission_id))
        if ended:
            self._api.set_status(self._api.kinds.named("pods"), pod, {**pod["status"], "phase": "Succeeded"})

    def remove(self, job: Object) -> bool:
        """Delete the submitter; True when it is gone."""
        namespace, name = job["metadata"]["namespace"], job["metadata"]["name"]
        if self._api.find("jobs", namespace, name):
            self._api.delete(self._api.kinds.named("jobs"), namespace, name)
        return self._pod(job) is None

    def _pod(self, job: Object) -> Object | None:
        selector = f"job-name={job['metadata']['name']}"
        pods = self._api.list(self._api.kinds.named("pods"), job["metadata"]["namespace"], selector)
        return next(iter(pods), None)


def _container(cluster: Object) -> Object:
    image = cluster["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0].get("image", "")
    resources = {"requests": {"cpu": "500m", "memory": "200Mi"}, "limits": {"cpu": "1", "memory": "1Gi"}}
    return {"name": _CONTAINER, "image": image, "resources": resources}
