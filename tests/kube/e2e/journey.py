"""The journey: from nothing but machines to a trained model, through a reclaim, and back to no GPU worker at all."""

import hashlib
import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import mlflow
from rich.console import Console

from platform_app.adapters.kubernetes.api import EVENTS, QUOTAS
from platform_app.client import Platform
from platform_app.domain.job import JobState
from platform_app.manifests import team_namespace
from platform_app.specs import load_catalog
from platform_app.views import JobView
from tests.drills.runs import CODE, spec
from tests.kube.e2e.cluster import NAMESPACE, PlatformCluster
from tests.kube.e2e.place import Place
from tests.kube.e2e.timeline import Sight, Timeline

WORKERS = 2
GRACE_SECONDS = 60
"""Less than the two minutes that most clouds give, and no less than the pods' own grace period."""
_EPOCHS, _STEPS_BEFORE_RECLAIM = 80, 100
_TEAM, _GPUS = "research", "requests.nvidia.com/gpu"
_DEDICATED = {
    "kind": "train",
    "name": "dedicated",
    "workload": "jobs.workloads.digits:make",
    "epochs": 3,
    "cluster": "dedicated",
    "team": _TEAM,
    "resources": {"num_workers": 1},
}


class Failed(Exception):
    """Something was seen that must not be."""


@dataclass
class Journey:
    """One journey; its parts are to be called in this order."""

    place: Place
    console: Console

    def make(self) -> None:
        """Go the whole way.

        Raises:
            Failed: something was not as it must be.
            TimeoutError: something did not come.
        """
        self.cluster = PlatformCluster(self.place, load_catalog(None))
        self.timeline = Timeline(self.console, self.cluster.seen)
        self._install()
        self._train()
        self._dedicated()
        self._learnt_once()
        if faults := self.place.faults():
            raise Failed("\n".join(faults))

    def events(self) -> Iterator[str]:
        """Give the newest events of the cluster, as sentences."""
        for event in self.place.kubernetes.list(EVENTS)[-20:]:
            yield f"{event['involvedObject'].get('name')}: {event['reason']}: {event['message']}"

    def _install(self) -> None:
        place, timeline, token = self.place, self.timeline, secrets.token_hex(24)
        place.apply("bootstrap")
        place.kubectl("apply", "--server-side", "--validate=false", "-f", "-", text=_secrets(token))
        place.apply("overlays/dev")
        timeline.tell("applied k8s/bootstrap, the secrets and k8s/overlays/dev")
        timeline.until(Sight(lambda: "RayService Ready" if self.cluster.is_ready() else "", "the RayService"))
        self.client = Platform(place.api_url(), token)
        if there := sum(group.workers + group.pending for group in self.client.cluster().worker_groups):
            raise Failed(f"there are {there} workers before anything was submitted")

    def _train(self) -> None:
        """A DDP job from zero workers to its end, with a reclaim in the middle."""
        timeline, cluster, client = self.timeline, self.cluster, self.client
        job = client.submit(spec("ddp", _EPOCHS), working_dir=CODE)
        timeline.tell(f"POST /v1/jobs: {job.id}, {WORKERS} workers with a GPU each")
        timeline.until(self._asked(WORKERS), self._running(WORKERS))
        timeline.until(self._progress(job.id, 1))
        timeline.until(self._progress(job.id, _STEPS_BEFORE_RECLAIM))
        victim = cluster.workers()[-1]["metadata"]["name"]
        self.place.reclaim(victim, GRACE_SECONDS)
        timeline.tell(f"the spot node of {victim} is taken back: SIGTERM, {GRACE_SECONDS} s of grace")

        def resumed() -> str:
            seen = client.job(job.id).interruptions
            return "; ".join(f"{one}, from the checkpoint of step {one.step - one.steps_lost}" for one in seen)

        timeline.until(Sight(resumed, "that training goes on"))
        timeline.until(self._ended(job.id))
        ended = client.job(job.id)
        if [(one.cause, one.steps_lost) for one in ended.interruptions] != [("notice", 0)]:
            raise Failed(f"not one interruption by a notice without a lost step: {ended.interruptions}")

    def _dedicated(self) -> None:
        """A dedicated job that its team's quota refuses at first, while the shared workers go."""
        timeline, client = self.timeline, self.client
        allowed = self._set_quota("0")
        job = client.submit(_DEDICATED)
        timeline.tell(f"POST /v1/jobs: {job.id}, dedicated, while the quota of team {_TEAM} is 0 GPUs")
        gone = Sight(lambda: "" if self.cluster.replicas() or self.cluster.workers() else "back to zero", "zero")

        def refused() -> str:
            message = client.job(job.id).message
            return f"GET /v1/jobs/{job.id}: {message}" if _GPUS in message else ""

        timeline.until(Sight(refused, "that the API tells of the quota"))
        self._set_quota(allowed)
        timeline.tell(f"the quota of team {_TEAM} is {allowed} GPUs")
        timeline.until(self._ended(job.id), gone)

    def _learnt_once(self) -> None:
        """Read from the weights what was lost or done twice: they count how often each sample was learnt from."""
        mlflow.set_tracking_uri(self.place.mlflow_url())
        version = self.client.versions("ddp")[0].version
        seen = -mlflow.pytorch.load_model(f"models:/ddp/{version}").state_dict()["seen"]
        if set(seen.tolist()) != {float(_EPOCHS)}:
            raise Failed(f"samples were learnt from {sorted(set(seen.tolist()))} times in {_EPOCHS} epochs")
        self.timeline.tell(f"by the model's own count, each of {len(seen)} samples was learnt from {_EPOCHS} times")

    def _set_quota(self, gpus: str) -> str:
        """Let a team have so many GPUs; what it had until now."""
        namespace, path = team_namespace(_TEAM), f"/spec/hard/{_GPUS.replace('/', '~1')}"
        quota = self.place.kubernetes.get(QUOTAS, "compute", namespace)
        if quota is None:
            raise Failed(f"no quota in {namespace}")
        change = {"op": "replace", "path": path, "value": gpus}
        self.place.kubernetes.json_patch(QUOTAS, "compute", [change], namespace)
        return str(quota["spec"]["hard"][_GPUS])

    def _asked(self, count: int) -> Sight:
        def look() -> str:
            by = ", ".join(self.place.scalers())
            told = f"the autoscaler has patched the worker groups to {count}" + (f", as {by}" if by else "")
            return told if self.cluster.replicas() == count else ""

        return Sight(look, f"{count} replicas")

    def _running(self, count: int) -> Sight:
        def look() -> str:
            phases = [pod["status"].get("phase") for pod in self.cluster.workers()]
            return f"{count} workers run" if phases.count("Running") == count else ""

        return Sight(look, f"{count} running workers")

    def _progress(self, job_id: str, steps: int) -> Sight:
        def look() -> str:
            job = self._alive(job_id)
            done = job.progress.done if job.progress else 0
            return f"{done} of {job.progress.total} steps" if job.progress and done >= steps else ""

        return Sight(look, f"{steps} steps")

    def _ended(self, job_id: str) -> Sight:
        def look() -> str:
            job = self._alive(job_id)
            return f"{job_id} SUCCEEDED" if job.state is JobState.SUCCEEDED else ""

        return Sight(look, f"the end of {job_id}")

    def _alive(self, job_id: str) -> JobView:
        job = self.client.job(job_id)
        if job.state.is_terminal and job.state is not JobState.SUCCEEDED:
            log = "".join(self.client.logs(job_id))[-4000:]
            raise Failed(f"{job_id} is {job.state}: {job.message}\n{log}")
        return job


def _secrets(token: str) -> str:
    """Give the namespace and the secrets that the cluster page lets one create, as a List."""
    digest = hashlib.sha256(token.encode()).hexdigest()
    held = {
        "slipway-database": {"password": secrets.token_hex(24)},
        "slipway-ray-token": {"auth_token": secrets.token_hex(24)},
        "slipway-api": {"token_digests": json.dumps([digest])},
    }
    items: list[dict[str, Any]] = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}]
    for name, data in held.items():
        metadata = {"name": name, "namespace": NAMESPACE}
        items.append({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data})
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
