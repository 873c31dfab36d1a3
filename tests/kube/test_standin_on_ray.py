"""Real Ray on the stand-in: the whole way from no GPU worker to one and back, by Ray's own autoscaler."""

import base64
import os
import subprocess
import sys
import time

import httpx
import pytest
import yaml

from tests.kube.objects import CPU_AND_MEMORY, cluster_spec, ray_cluster, ray_job, worker_group
from tests.kube.standin import kube_cluster
from tests.kube.standin.operator.cluster_status import ready

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]

FAST = {"AUTOSCALER_UPDATE_INTERVAL_S": "1", "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "3"}

_ONE_GPU_TASK = """
import ray
ray.init()
@ray.remote(num_gpus=1)
def where():
    return ray.get_runtime_context().get_node_id()
print("ran on", ray.get(where.remote(), timeout=120))
"""


@pytest.fixture(scope="module")
def kube():
    with kube_cluster(environment=FAST, groups=("ray.io",)) as kube:
        kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team-a"}})
        yield kube
    assert kube.failures == []


def _token(kube, cluster: str) -> str:
    secret = kube.get("secrets", cluster, "team-a")
    return base64.b64decode(secret["data"]["auth_token"]).decode()


def _drive(kube, cluster: str, code: str) -> subprocess.CompletedProcess[str]:
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(kube.home),
        "RAY_ADDRESS": kube.address(cluster, "team-a", "gcs"),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": _token(kube, cluster),
    }
    return subprocess.run(
        [sys.executable, "-c", code], env=env, text=True, capture_output=True, timeout=180, check=False
    )


def _replicas(kube) -> int:
    return kube.get("rayclusters", "rc", "team-a")["spec"]["workerGroupSpecs"][0]["replicas"]


def test_a_task_with_a_gpu_brings_a_worker_from_zero_and_its_end_takes_it_away(kube):
    kube.apply(ray_cluster("rc", worker_group("gpu", {**CPU_AND_MEMORY, "nvidia.com/gpu": "1"}, idle_seconds=3)))
    kube.eventually(lambda: kube.get("rayclusters", "rc", "team-a").get("status", {}).get("state") == "ready", 90)
    assert _replicas(kube) == 0

    driven = _drive(kube, "rc", _ONE_GPU_TASK)
    assert driven.returncode == 0, driven.stderr
    assert "ran on" in driven.stdout

    kube.eventually(lambda: not kube.list("pods", "team-a", "ray.io/group=gpu"), 60)
    assert _replicas(kube) == 0
    patches = [
        seen for seen in kube.requests if seen.user == "system:serviceaccount:team-a:rc" and seen.verb == "patch"
    ]
    assert [step["value"] for seen in patches for step in seen.body if step["path"].endswith("/replicas")] == [1, 0]
    reasons = {reason for reason, _ in kube.events("team-a")}
    assert {"CreatedHeadPod", "CreatedWorkerPod", "FailedScheduling", "TriggeredScaleUp", "Scheduled"} <= reasons


def test_a_rayjob_runs_on_a_cluster_of_its_own_and_tells_how_it_ended(kube):
    kube.apply(ray_job("hello", "python -c 'print(6 * 7)'", shutdownAfterJobFinishes=True))

    def status() -> dict:
        return kube.get("rayjobs", "hello", "team-a").get("status") or {}

    kube.eventually(lambda: status().get("jobDeploymentStatus") in ("Complete", "Failed"), 150)
    assert (status()["jobDeploymentStatus"], status()["jobStatus"]) == ("Complete", "SUCCEEDED"), status()
    assert status()["succeeded"] == 1
    kube.eventually(lambda: not kube.list("rayclusters", "team-a", "ray.io/originated-from-cr-name=hello"), 60)


def test_a_pod_whose_image_is_nowhere_says_so_until_it_is_there(kube):
    kube.break_image("rayproject")
    kube.apply(ray_cluster("away", worker_group("gpu", CPU_AND_MEMORY)))

    def waits() -> str:
        pod = kube.get("pods", "away-head", "team-a") or {}
        states = pod.get("status", {}).get("containerStatuses") or [{"state": {}}]
        return states[0]["state"].get("waiting", {}).get("reason", "")

    kube.eventually(lambda: waits() == "ErrImagePull", 20)
    kube.eventually(lambda: waits() == "ImagePullBackOff", 20)
    assert any(reason == "Failed" and "not found" in said for reason, said in kube.events("team-a", "away-head"))
    kube.delete("rayclusters", "away", "team-a")
    kube.mend_images()
    kube.eventually(lambda: kube.get("pods", "away-head", "team-a") is None, 20)


@pytest.mark.long
def test_a_reclaimed_spot_node_is_drained_and_gone_in_its_grace_period(kube):
    limits = {**CPU_AND_MEMORY, "nvidia.com/gpu": "1"}
    kube.apply(ray_cluster("spot", worker_group("gpu", limits, minReplicas=1)))
    selector = "ray.io/cluster=spot,ray.io/group=gpu"

    def running() -> list[str]:
        pods = kube.list("pods", "team-a", selector)
        return [one["metadata"]["name"] for one in pods if ready(one)]

    (victim,) = kube.eventually(running, 120)
    kube.stock("gpu-spot", 0)
    kube.stock("gpu-ondemand", 0)
    node = kube.get("pods", victim, "team-a")["spec"]["nodeName"]
    begun = time.monotonic()
    assert kube.reclaim(victim, grace_seconds=15) == [victim]
    kube.eventually(lambda: kube.get("pods", victim, "team-a") is None, 40)
    assert time.monotonic() - begun < 35
    kube.eventually(lambda: kube.get("nodes", node) is None, 20)
    assert any(reason == "FailedScheduling" for reason, _ in kube.events("team-a"))
    assert "drain" in kube.log("team-a", victim, "ray-worker").lower()
    kube.delete("rayclusters", "spot", "team-a")
    kube.eventually(lambda: not kube.list("pods", "team-a", "ray.io/cluster=spot"), 60)
    kube.stock("gpu-spot", 10)
    kube.stock("gpu-ondemand", 10)


_APP = """
from ray import serve

@serve.deployment(ray_actor_options={"num_cpus": 0})
class Hello:
    def __call__(self, request):
        return "hello"

app = Hello.bind()
"""


@pytest.mark.long
def test_a_rayservice_serves_its_applications_from_a_claims_folder(kube):
    (kube.claim("code") / "hello_app.py").write_text(_APP)
    spec = cluster_spec(worker_group("gpu", CPU_AND_MEMORY))
    head = spec["headGroupSpec"]["template"]["spec"]
    head["volumes"] = [{"name": "code", "persistentVolumeClaim": {"claimName": "code"}}]
    head["containers"][0]["volumeMounts"] = [{"name": "code", "mountPath": "/mnt/code"}]
    head["containers"][0]["env"] = [{"name": "PYTHONPATH", "value": "/mnt/code"}]
    config = {
        "proxy_location": "HeadOnly",
        "http_options": {"host": "0.0.0.0", "port": 8000},
        "applications": [{"name": "hello", "route_prefix": "/", "import_path": "hello_app:app"}],
    }
    metadata = {"name": "hi", "namespace": "team-a"}
    service = {"serveConfigV2": yaml.safe_dump(config), "rayClusterConfig": spec}
    kube.apply({"apiVersion": "ray.io/v1", "kind": "RayService", "metadata": metadata, "spec": service})

    def active() -> dict:
        status = kube.get("rayservices", "hi", "team-a").get("status") or {}
        ready = any(one["type"] == "Ready" and one["status"] == "True" for one in status.get("conditions") or ())
        return status["activeServiceStatus"] if ready else {}

    cluster = kube.eventually(active, 200)["rayClusterName"]
    answer = httpx.get(f"http://{kube.address(cluster, 'team-a', 'serve')}/", trust_env=False)
    assert answer.text == "hello"
    kube.delete("rayservices", "hi", "team-a")
    kube.eventually(lambda: not kube.list("pods", "team-a", f"ray.io/cluster={cluster}"), 60)
