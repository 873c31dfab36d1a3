"""Pods get nodes as from kube-scheduler, and pools get nodes as from a node autoscaler. No process is started."""

import dataclasses

import pytest

from tests.kube.objects import namespace, pod
from tests.kube.standin.admission import default_admission
from tests.kube.standin.api.objects import Api
from tests.kube.standin.kubelet.pools import SPOT_GPU, SYSTEM
from tests.kube.standin.kubelet.scheduler import Scheduler

GPU_POD = {"cpu": "4", "nvidia.com/gpu": "1"}
TOLERATES_ALL = [{"operator": "Exists"}]


@pytest.fixture
def api():
    api = Api(default_admission())
    api.create(api.kinds.named("namespaces"), None, namespace("team-a"))
    return api


def _scheduler(api, *pools) -> Scheduler:
    return Scheduler(api, pools)


def _add(api, obj) -> None:
    api.create(api.kinds.named("pods"), "team-a", obj)


def _node_of(api, name: str) -> str | None:
    return api.find("pods", "team-a", name)["spec"].get("nodeName")


def _condition(api, name: str) -> dict:
    return api.find("pods", "team-a", name)["status"]["conditions"][0]


def _events(api) -> dict[str, str]:
    return {one["reason"]: one["message"] for one in api.list(api.kinds.named("events"), "team-a")}


def test_a_pod_that_fits_is_placed_at_once(api):
    scheduler = _scheduler(api, SYSTEM)
    _add(api, pod("w", {"cpu": "1"}))
    scheduler.step()
    assert _node_of(api, "w") == "system-0"
    assert _condition(api, "w")["status"] == "True"


def test_a_pod_for_a_gpu_brings_a_node_from_zero(api):
    scheduler = _scheduler(api, SYSTEM, pool(SPOT_GPU, seconds_to_come=0.0))
    _add(api, pod("w", GPU_POD, tolerations=TOLERATES_ALL))
    scheduler.step()
    assert _events(api)["TriggeredScaleUp"] == "pod triggered scale-up: [{gpu-spot 0->1 (max: 10)}]"
    scheduler.step()
    assert _node_of(api, "w").startswith("gpu-spot-")


def test_each_pod_that_waits_gets_a_node_and_no_more(api):
    scheduler = _scheduler(api, pool(SPOT_GPU, seconds_to_come=60.0))
    for name in ("a", "b"):
        _add(api, pod(name, GPU_POD, tolerations=TOLERATES_ALL))
    for _ in range(3):
        scheduler.step()
    assert scheduler.coming() == 2


def test_a_pod_that_no_node_can_hold_says_why(api):
    scheduler = _scheduler(api, SYSTEM, pool(SPOT_GPU, static=1))
    _add(api, pod("w", GPU_POD))
    scheduler.step()
    assert _condition(api, "w")["reason"] == "Unschedulable"
    assert _condition(api, "w")["message"] == (
        "0/2 nodes are available: 1 Insufficient nvidia.com/gpu, 1 node(s) had untolerated taint {nvidia.com/gpu:"
        " present}. preemption: 0/2 nodes are available: 1 Preemption is not helpful for scheduling, 1 No preemption"
        " victims found for incoming pod."
    )
    assert "node(s) had untolerated taint" in _events(api)["NotTriggerScaleUp"]


def test_a_pool_out_of_stock_brings_none(api):
    scheduler = _scheduler(api, pool(SPOT_GPU, most=0))
    _add(api, pod("w", GPU_POD, tolerations=TOLERATES_ALL))
    scheduler.step()
    assert _events(api)["NotTriggerScaleUp"] == "pod didn't trigger scale-up: 1 max node group size reached"
    scheduler.stock["gpu-spot"] = 1
    scheduler.step()
    assert "TriggeredScaleUp" in _events(api)


def test_a_selector_chooses_the_pool(api):
    plain = pool(SYSTEM, name="plain", static=0, seconds_to_come=0.0)
    wanted = pool(SYSTEM, name="wanted", static=0, seconds_to_come=0.0, labels={"platform/pool": "wanted"})
    scheduler = _scheduler(api, plain, wanted)
    term = {"matchExpressions": [{"key": "platform/pool", "operator": "In", "values": ["wanted"]}]}
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}
    _add(api, pod("a", nodeSelector={"platform/pool": "wanted"}))
    _add(api, pod("b", affinity=affinity))
    scheduler.step()
    scheduler.step()
    assert _node_of(api, "a").startswith("wanted-")
    assert _node_of(api, "b").startswith("wanted-")


def test_a_node_that_nothing_is_on_goes(api):
    scheduler = _scheduler(api, SYSTEM, pool(SPOT_GPU, seconds_to_come=0.0, seconds_empty=0.0))
    _add(api, pod("w", GPU_POD, tolerations=TOLERATES_ALL))
    scheduler.step()
    scheduler.step()
    api.delete(api.kinds.named("pods"), "team-a", "w", grace_seconds=0)
    scheduler.step()
    scheduler.step()
    assert [one["metadata"]["name"] for one in api.list(api.kinds.named("nodes"), None)] == ["system-0"]


def pool(base, **fields):
    """Change a pool."""
    return dataclasses.replace(base, **fields)
