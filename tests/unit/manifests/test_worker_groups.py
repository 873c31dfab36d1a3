"""Worker groups of the catalog as KubeRay's."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from platform_app.launch import JOB_ENV
from platform_app.manifests import ray_environment, worker_group
from platform_app.manifests.names import SPOT_LABELS
from platform_app.specs import Catalog, KubernetesTimes, Market, Tier, WorkerGroup, load_catalog

TIERS = (Tier(name="serving", priority=1000), Tier(name="training", priority=500))
GPU_RESOURCES = ("nvidia.com/gpu", "nvidia.com/gpu.shared", "nvidia.com/mig-1g.10gb")


@st.composite
def worker_groups(draw):
    resource = draw(st.sampled_from(GPU_RESOURCES))
    gpus = draw(st.integers(0, 1 if resource.endswith(".shared") else 8))
    return WorkerGroup(
        name=draw(st.from_regex(r"\A[a-z]([-a-z0-9]{0,20}[a-z0-9])?\Z")),
        market=draw(st.sampled_from(Market)),
        accelerator_type="A10G" if gpus else None,
        cpus=draw(st.integers(1, 64)),
        gpus=gpus,
        memory_gib=draw(st.floats(0.5, 1024)),
        max_workers=draw(st.integers(1, 50)),
        price_per_hour=1.0,
        priority=draw(st.integers(-5, 20)),
        gpu_resource=resource,
        tier=draw(st.sampled_from([None, "serving", "training"])),
    )


def render(group):
    return worker_group(group, Catalog(worker_groups=(group,), tiers=TIERS), "ray-environment")


def pod(rendered):
    return rendered["template"]["spec"]


def container(rendered):
    return pod(rendered)["containers"][0]


@given(worker_groups())
def test_ray_and_kubernetes_are_told_the_same_amounts(group):
    rendered = render(group)
    requests, limits = (container(rendered)["resources"][kind] for kind in ("requests", "limits"))
    assert requests == limits
    assert rendered["resources"]["CPU"] == limits["cpu"]
    assert int(rendered["resources"]["memory"]) == int(limits["memory"].removesuffix("Mi")) * 2**20
    assert rendered["resources"].get("GPU") == limits.get(group.gpu_resource)


@given(worker_groups())
def test_a_group_of_any_kind_of_gpu_scales_from_zero(group):
    """The autoscaler takes GPUs from a limit only where its name ends in `gpu`; it must hear of the others by name."""
    rendered = render(group)
    assert ("GPU" in rendered["resources"]) == (group.gpus > 0)
    assert rendered["rayStartParams"] == {}, "amounts said twice are refused by the operator"
    assert rendered["replicas"] == rendered["minReplicas"] == 0
    assert rendered["maxReplicas"] == group.max_workers


@pytest.mark.parametrize("resource", GPU_RESOURCES)
def test_the_autoscaler_itself_finds_the_gpus_of_a_group(resource):
    from ray.autoscaler._private.kuberay.autoscaling_config import _node_type_from_group_spec

    rendered = render(load_catalog().worker_groups[0].model_copy(update={"gpu_resource": resource, "tier": None}))
    node_type = _node_type_from_group_spec(rendered, is_head=False)
    assert node_type["resources"] == {"CPU": 4, "GPU": 1, "memory": 16 * 2**30}
    assert node_type["labels"]["ray.io/market-type"] == "spot"
    assert (node_type["idle_timeout_s"], node_type["priority"]) == (60.0, 10)


@given(worker_groups())
def test_pods_without_a_gpu_see_none(group):
    env = {entry["name"]: entry["value"] for entry in container(render(group)).get("env", [])}
    assert (env.get("NVIDIA_VISIBLE_DEVICES") == "void") == (group.gpus == 0)
    assert "CUDA_VISIBLE_DEVICES" not in env, "not a value of the user's: Ray sets it for each training worker"


@given(worker_groups())
def test_only_gpu_pods_tolerate_gpu_nodes_and_only_spot_pods_tolerate_spot_nodes_of_every_cloud(group):
    keys = {toleration["key"] for toleration in pod(render(group)).get("tolerations", [])}
    assert ("nvidia.com/gpu" in keys) == (group.gpus > 0)
    assert keys - {"nvidia.com/gpu"} == ({"spot", *SPOT_LABELS} if group.market is Market.SPOT else set())


@given(worker_groups())
def test_a_spot_pod_may_be_evicted_for_that_is_its_notice_and_an_on_demand_pod_may_not(group):
    annotations = render(group)["template"]["metadata"]["annotations"]
    assert ("karpenter.sh/do-not-disrupt" in annotations) == (group.market is Market.ON_DEMAND)
    assert annotations["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "false"


@given(worker_groups())
def test_pods_choose_nodes_by_a_label_of_ours_that_a_cold_pool_has(group):
    assert pod(render(group))["nodeSelector"] == {"slipway/pool": group.name}


@given(worker_groups())
def test_pods_run_as_rays_user_without_kubernetes_credentials(group):
    rendered = render(group)
    security = pod(rendered)["securityContext"]
    assert (security["runAsUser"], security["runAsGroup"], security["fsGroup"]) == (1000, 100, 100)
    assert security["fsGroupChangePolicy"] == "OnRootMismatch", (
        "the files of an NFS share are not all chowned each time"
    )
    assert pod(rendered)["automountServiceAccountToken"] is False
    assert container(rendered)["securityContext"]["allowPrivilegeEscalation"] is False


@given(worker_groups())
def test_shared_memory_is_left_to_the_operator_which_makes_it_as_large_as_the_limit(group):
    assert [mount["mountPath"] for mount in container(render(group))["volumeMounts"]] == ["/mnt/slipway"]


def test_a_group_without_a_tier_has_the_lowest_one():
    group = load_catalog().worker_groups[2].model_copy(update={"tier": None})
    assert pod(render(group))["priorityClassName"] == "training"


@given(st.integers(1, 600))
def test_the_drain_is_over_before_the_grace_period(seconds):
    catalog = load_catalog().model_copy(update={"kubernetes": KubernetesTimes(drain_seconds=seconds)})
    rendered = worker_group(catalog.worker_groups[0], catalog, "ray-environment")
    drain = int(ray_environment(catalog)["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"])
    assert drain == seconds
    assert pod(rendered)["terminationGracePeriodSeconds"] >= drain + 15


def test_rays_own_code_reads_the_drain_and_the_stock_out_times_from_these_variables():
    from ray._private import ray_constants
    from ray.autoscaler._private import constants
    from ray.autoscaler.v2.instance_manager import config

    read = "".join(Path(module.__file__).read_text() for module in (ray_constants, constants, config))
    wanted = [name for name in ray_environment(load_catalog()) if re.search("AUTOSCALER|DRAIN", name)]
    assert len(wanted) == 3
    assert all(f'"{name}"' in read for name in wanted)


def test_every_ray_process_has_the_auth_mode_said_and_what_jobs_need():
    environment = ray_environment(load_catalog())
    assert environment["RAY_AUTH_MODE"] == "token"
    assert environment.items() >= JOB_ENV.items()
    assert int(environment["RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"]) > 300, "a GPU node takes minutes to boot"
    assert int(environment["RAY_AUTOSCALER_RECONCILE_ALLOCATE_STATUS_TIMEOUT_S"]) < 3600


def test_a_worker_with_two_shares_of_a_gpu_is_refused_as_the_device_plugin_would():
    fields = load_catalog().worker_groups[0].model_dump()
    with pytest.raises(ValidationError, match="one share of a time-sliced GPU"):
        WorkerGroup(**fields | {"gpu_resource": "nvidia.com/gpu.shared", "gpus": 2})


def test_a_group_of_an_unknown_tier_is_refused_by_both_names():
    group = load_catalog().worker_groups[0].model_copy(update={"tier": "gold"})
    with pytest.raises(ValidationError, match="worker group gpu-spot: no tier gold; known: serving, training"):
        Catalog(worker_groups=(group,), tiers=TIERS)
