"""What every runner of jobs does, asked of the fake and of RayJobs on a Kubernetes API."""

import asyncio
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from platform_app.adapters.kubernetes import KubeRayJobs, KubernetesApi
from platform_app.dedicated import attempt_request
from platform_app.domain.job import Job
from platform_app.errors import PermanentError, TemporaryError
from platform_app.launch import DedicatedContext, LaunchContext
from platform_app.ports import RayJobRequest, RayJobStatus
from platform_app.specs import load_catalog
from tests.control_plane import train_spec
from tests.fakes import FakeRunner
from tests.kube.standin import kube_api

NAMESPACE = "team-research"
NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
CONTEXT = LaunchContext("/mnt/slipway", "http://mlflow", DedicatedContext("slipway:1", "slipway-cuda:1"))


def a_request(number: int = 1) -> RayJobRequest:
    spec = train_spec(cluster="dedicated", team="research")
    return attempt_request(Job(f"digits-{number:06}", spec, NOW).admitted(NOW), CONTEXT, load_catalog())


class FakeWorld:
    """The fake, and how to let things happen in it."""

    def __init__(self) -> None:
        self.runner = FakeRunner()
        self.begin, self.write, self.finish = self.runner.begin, self.runner.write, self.runner.finish

    def refuse(self) -> None:
        self.runner.refusal = "no"

    def away(self) -> None:
        self.runner.power.away = True


class KubeWorld:
    """RayJobs on a Kubernetes API, and what an operator would do."""

    def __init__(self, kube) -> None:
        self.kube = kube
        self.runner = KubeRayJobs(KubernetesApi.from_kubeconfig(kube.kubeconfig))

    def begin(self, name: str) -> None:
        self._status(name, jobDeploymentStatus="Running", jobStatus="RUNNING")

    def write(self, name: str, text: str) -> None:
        pod = f"{name}-s"
        if not self.kube.get("pods", pod, NAMESPACE):
            template = self.kube.get("rayjobs.ray.io", name, NAMESPACE)["spec"]["submitterPodTemplate"]
            metadata = {
                "name": pod,
                "namespace": NAMESPACE,
                "labels": {**template["metadata"]["labels"], "job-name": name},
            }
            spec = {key: value for key, value in template["spec"].items() if key != "priorityClassName"}
            self.kube.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
        log = self.kube.home / "pods" / NAMESPACE / pod / "ray-job-submitter.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a") as file:
            file.write(text)

    def finish(self, name: str, status: RayJobStatus = RayJobStatus.SUCCEEDED, message: str = "") -> None:
        phase = "Failed" if status is RayJobStatus.FAILED else "Complete"
        self._status(name, jobDeploymentStatus=phase, jobStatus=status, message=message)

    def refuse(self) -> None:
        job = {"entrypoint": "python x.py", "rayClusterSpec": a_request().manifest["spec"]["rayClusterSpec"]}
        metadata = {"name": a_request().submission_id, "namespace": NAMESPACE}
        self.kube.apply({"apiVersion": "ray.io/v1", "kind": "RayJob", "metadata": metadata, "spec": job})

    def away(self) -> None:
        self.kube.fault(cut=True)

    def _status(self, name: str, **status: str) -> None:
        self.kube.set_status("rayjobs.ray.io", name, status, NAMESPACE)


@pytest.fixture(scope="module")
def kube():
    with kube_api(groups=("ray.io",)) as kube:
        kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
        # The first object of a kind waits for its schema to be read: a megabyte of YAML.
        kube.apply(a_request().manifest)
        kube.delete("rayjobs.ray.io", a_request().submission_id, NAMESPACE)
        yield kube


@pytest.fixture(params=["fake", "kubernetes"])
def world(request) -> Iterator[FakeWorld | KubeWorld]:
    if request.param == "fake":
        yield FakeWorld()
        return
    kube = request.getfixturevalue("kube")
    yield KubeWorld(kube)
    kube.heal()
    shutil.rmtree(kube.home / "pods", ignore_errors=True)
    for plural in ("rayjobs.ray.io", "pods"):
        for found in kube.list(plural, NAMESPACE):
            kube.delete(plural, found["metadata"]["name"], NAMESPACE)


def test_what_was_submitted_is_seen_and_waits(world):
    world.runner.submit(a_request())
    assert [seen.status for seen in world.runner.observe().values()] == [RayJobStatus.PENDING]
    assert list(world.runner.observe()) == ["digits-000001-1"]


def test_a_second_submission_changes_nothing(world):
    world.runner.submit(a_request())
    world.begin("digits-000001-1")
    world.runner.submit(a_request())
    assert {name: seen.status for name, seen in world.runner.observe().items()} == {
        "digits-000001-1": RayJobStatus.RUNNING
    }


def test_a_new_process_sees_what_the_old_one_started(world):
    world.runner.submit(a_request(1))
    if isinstance(world, KubeWorld):
        world.runner = KubeWorld(world.kube).runner
    world.runner.submit(a_request(2))
    assert set(world.runner.observe()) == {"digits-000001-1", "digits-000002-1"}


@pytest.mark.parametrize("status", [RayJobStatus.SUCCEEDED, RayJobStatus.FAILED, RayJobStatus.STOPPED])
def test_an_end_is_seen_with_its_message(world, status):
    world.runner.submit(a_request())
    world.begin("digits-000001-1")
    world.finish("digits-000001-1", status, "so it ended")
    seen = world.runner.observe()["digits-000001-1"]
    assert (seen.status, seen.message, seen.cause) == (status, "so it ended", None)


def test_a_refusal_for_ever_is_told_from_one_for_now(world):
    world.refuse()
    with pytest.raises(PermanentError):
        world.runner.submit(a_request())


def test_a_stop_may_come_twice_and_for_what_is_not_there(world):
    world.runner.submit(a_request())
    world.runner.stop("digits-000001-1")
    world.runner.stop("digits-000001-1")
    world.runner.stop("digits-000009-1")


def test_what_is_released_is_gone_and_may_be_released_again(world):
    world.runner.submit(a_request())
    world.finish("digits-000001-1")
    world.runner.release("digits-000001-1")
    world.runner.release("digits-000001-1")
    assert world.runner.observe() == {}


def test_the_log_is_what_was_written(world):
    world.runner.submit(a_request())
    assert world.runner.logs("digits-000001-1") == ""
    world.begin("digits-000001-1")
    world.write("digits-000001-1", "step 1\n")
    world.write("digits-000001-1", "step 2\n")
    assert world.runner.logs("digits-000001-1") == "step 1\nstep 2\n"


def test_there_is_no_log_of_what_is_not_known(world):
    assert world.runner.logs("digits-000009-1") is None


def test_a_tail_begins_at_the_beginning_and_ends_with_the_attempt(world):
    world.runner.submit(a_request())
    world.begin("digits-000001-1")
    world.write("digits-000001-1", "all\n")
    world.finish("digits-000001-1")

    async def read() -> str:
        return "".join([piece async for piece in world.runner.tail("digits-000001-1")])

    assert asyncio.run(read()) == "all\n"


def test_being_away_is_temporary(world):
    world.runner.submit(a_request())
    world.away()
    for ask in (
        world.runner.observe,
        lambda: world.runner.submit(a_request(2)),
        lambda: world.runner.stop("digits-000001-1"),
        lambda: world.runner.logs("digits-000001-1"),
    ):
        with pytest.raises(TemporaryError, match="does not answer"):
            ask()
