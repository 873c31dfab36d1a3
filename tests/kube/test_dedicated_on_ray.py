"""A dedicated job on real Ray: refused by its team's quota, explained, let in, trained, and cleared away."""

import time
from collections.abc import Callable

import pytest

from platform_app.adapters.clock import SystemClock
from platform_app.adapters.kubernetes import KubeRayJobs, KubernetesApi, KubernetesSigns
from platform_app.domain.job import Job, JobState
from platform_app.manifests import team_objects
from platform_app.manifests.tiers import priority_classes
from tests.kube.standin import SYSTEM, Pool, kube_cluster

pytestmark = [pytest.mark.ray, pytest.mark.long, pytest.mark.timeout(590)]

NAMESPACE = "team-research"
GPU = "requests.nvidia.com/gpu"
FAST = {"AUTOSCALER_UPDATE_INTERVAL_S": "1", "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "3"}
SPOT = Pool(
    "gpu-spot",
    {"cpu": "8", "memory": "64Gi", "nvidia.com/gpu": "1"},
    market="spot",
    labels={"slipway/pool": "gpu-spot"},
    taints=({"key": "nvidia.com/gpu", "value": "present"}, {"key": "spot", "value": "true"}),
)


@pytest.fixture
def kube():
    with kube_cluster((SYSTEM, SPOT), environment=FAST, groups=("ray.io",)) as kube:
        yield kube
    assert kube.failures == []


def until(plane, kube, job_id: str, seen: Callable[[Job], bool], seconds: float = 270) -> Job:
    """Make passes until a job is as expected."""
    deadline = time.monotonic() + seconds
    while not seen(job := plane.job(job_id)):
        log = plane.logs.read(job_id, max(1, len(job.attempts))).decode()[-3000:]
        events = "\n".join(f"{reason}: {message}" for reason, message in kube.events(NAMESPACE)[-20:])
        assert time.monotonic() < deadline, f"{job.state}: {job.message}\n{log}\n{events}"
        assert not job.state.is_terminal, f"{job.reason}: {job.message}\n{log}"
        plane.tick()
        time.sleep(0.5)
    return job


def test_a_job_is_refused_by_its_teams_quota_explained_and_runs_when_the_quota_allows(plane, kube):
    team = plane.catalog.teams[0]
    without_gpus = team_objects(team.model_copy(update={"max_gpus": 0}), plane.catalog)
    kube.apply([*priority_classes(plane.catalog), *without_gpus])
    api = KubernetesApi.from_kubeconfig(kube.kubeconfig)
    plane.dedicated, plane.signs = KubeRayJobs(api), KubernetesSigns(api, SystemClock(), kueue=False)
    plane.context = type(plane.context)(plane.root, f"sqlite:///{plane.folder}/mlflow.db", plane.context.dedicated)
    plane.logs = type(plane.logs)(plane.store, plane.runners, plane.storage)
    plane.reconciler = plane.new_reconciler("with Kubernetes")

    job_id = plane.submit(cluster="dedicated", team=team.name, epochs=2)
    waiting = until(plane, kube, job_id, lambda job: "quota compute" in job.message)
    assert f"it asks for {GPU}=1, used is {GPU}=0 of {GPU}=0" in waiting.message
    assert not waiting.state.is_terminal

    kube.apply(team_objects(team, plane.catalog))
    done = until(plane, kube, job_id, lambda job: job.state is JobState.SUCCEEDED)
    assert [attempt.number for attempt in done.attempts] == [1]
    assert plane.storage.log(job_id, 1)
    kube.eventually(lambda: not kube.list("rayjobs.ray.io", NAMESPACE) and not kube.list("pods", NAMESPACE))
