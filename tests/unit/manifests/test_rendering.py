"""Tiers, teams, node pools, queues and files as they are rendered."""

import pytest
import yaml

from platform_app.manifests import rendered_files, team_objects
from platform_app.manifests.__main__ import CATALOG, MANIFESTS
from platform_app.manifests.kueue import kueue_objects
from platform_app.manifests.nodes import node_pools
from platform_app.manifests.tiers import priority_classes
from platform_app.specs import Catalog, Market, TeamNamespace, Tier, load_catalog

BUILT_IN = load_catalog()
SHARED = BUILT_IN.worker_groups[0].model_copy(update={"name": "gpu-shared", "gpu_resource": "nvidia.com/gpu.shared"})
SLICED = BUILT_IN.worker_groups[1].model_copy(update={"name": "gpu-mig", "gpu_resource": "nvidia.com/mig-1g.10gb"})
MIXED = BUILT_IN.model_copy(update={"worker_groups": (*BUILT_IN.worker_groups, SHARED, SLICED)})
TEAM = TeamNamespace(name="vision", max_gpus=3, max_cpus=8, max_memory_gib=64, max_jobs=5)


def one(objects, kind, name=None):
    (found,) = [o for o in objects if o["kind"] == kind and name in (None, o["metadata"]["name"])]
    return found


@pytest.mark.parametrize("name", rendered_files(BUILT_IN, CATALOG.read_text()))
def test_the_committed_file_is_what_the_catalog_renders(name):
    rendered = rendered_files(BUILT_IN, CATALOG.read_text())[name]
    assert (MANIFESTS / name).read_text() == rendered, "run `make manifests`"


def test_a_new_group_team_and_tier_in_the_catalog_is_in_every_file_that_has_to_do_with_it():
    catalog = Catalog(
        **MIXED.model_dump() | {"teams": (*MIXED.teams, TEAM), "tiers": (*MIXED.tiers, Tier(name="batch", priority=50))}
    )
    files = rendered_files(catalog, "")
    holding = {word: {name for name, text in files.items() if word in text} for word in ("gpu-mig", "vision", "batch")}
    pools, queues = "bootstrap/karpenter/base/node-pools.yaml", "components/kueue/queues.yaml"
    assert holding["gpu-mig"] == {pools, queues, "base/platform/rendered/worker-groups.yaml"}
    assert holding["vision"] == {queues, "base/teams/teams.yaml", "components/storage-single-node/volumes.yaml"}
    assert holding["batch"] == {queues, "bootstrap/priority-classes.yaml"}


def test_priority_classes_have_the_names_and_numbers_of_the_tiers_and_one_above_for_the_platform():
    classes = {found["metadata"]["name"]: found for found in priority_classes(BUILT_IN)}
    assert {name: c["value"] for name, c in classes.items() if name != "slipway-platform"} == {
        tier.name: tier.priority for tier in BUILT_IN.tiers
    }
    # A pod without a class has 0, so a notebook of 100 would push MLflow out.
    assert classes["slipway-platform"]["value"] >= 1_000_000
    assert not any(c["globalDefault"] for c in classes.values())


def test_training_pushes_nobody_out_before_a_node_is_added():
    policies = {c["metadata"]["name"]: c["preemptionPolicy"] for c in priority_classes(BUILT_IN)}
    assert policies["training-critical"] == policies["development"] == "Never"
    assert policies["production-serving"] == "PreemptLowerPriority"


def test_gpus_are_limited_by_lines_that_the_quota_controller_enforces():
    quota = one(team_objects(TEAM, MIXED), "ResourceQuota", "compute")["spec"]["hard"]
    assert {name: most for name, most in quota.items() if "nvidia" in name} == {
        "requests.nvidia.com/gpu": "3",
        "requests.nvidia.com/gpu.shared": "3",
        "requests.nvidia.com/mig-1g.10gb": "3",
    }


def test_a_namespace_with_a_quota_gives_containers_that_say_nothing_what_they_ask():
    (limit,) = one(team_objects(TEAM, BUILT_IN), "LimitRange")["spec"]["limits"]
    assert limit["default"] == limit["defaultRequest"]
    assert set(limit["default"]) == {"cpu", "memory"}


def test_jobs_are_counted_by_their_own_objects_and_not_by_pods():
    assert one(team_objects(TEAM, BUILT_IN), "ResourceQuota", "jobs")["spec"]["hard"] == {
        "count/rayjobs.ray.io": "5",
        "count/rayclusters.ray.io": "5",
    }


def test_a_teams_pods_cannot_take_the_platforms_priority():
    quota = one(team_objects(TEAM, BUILT_IN), "ResourceQuota", "no-platform-priority")["spec"]
    assert quota["hard"] == {"pods": "0"}
    assert quota["scopeSelector"]["matchExpressions"][0]["values"] == ["slipway-platform"]


def test_nobody_but_the_team_the_operator_and_prometheus_reaches_a_teams_pods():
    policy = one(team_objects(TEAM, BUILT_IN), "NetworkPolicy", "closed")["spec"]
    assert (policy["podSelector"], policy["policyTypes"]) == ({}, ["Ingress"])
    team, operator, metrics = policy["ingress"]
    assert team == {"from": [{"podSelector": {}}]}
    assert [port["port"] for port in operator["ports"]] == [8265]
    assert [port["port"] for port in metrics["ports"]] == [8080, 44217, 44227]


def test_running_training_is_never_moved_by_karpenter():
    for pool in node_pools(MIXED):
        disruption, node = pool["spec"]["disruption"], pool["spec"]["template"]["spec"]
        # The defaults: WhenEmptyOrUnderutilized after 0 s, expiry after 720 h whatever runs.
        assert disruption["consolidationPolicy"] == "WhenEmpty"
        assert {"nodes": "0", "reasons": ["Drifted", "Underutilized"]} in disruption["budgets"]
        assert node["expireAfter"] == "Never"
        assert node["nodeClassRef"] == {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "slipway"}


def test_a_pools_nodes_have_the_label_that_its_pods_select_and_taints_that_they_tolerate():
    for pool, group in zip(node_pools(MIXED), MIXED.worker_groups, strict=True):
        template = pool["spec"]["template"]
        taints = {taint["key"] for taint in template["spec"].get("taints", [])}
        assert template["metadata"]["labels"] == {"slipway/pool": group.name}
        assert ("nvidia.com/gpu" in taints, "spot" in taints) == (group.gpus > 0, group.market is Market.SPOT)
        wanted = {r["key"]: r["values"] for r in template["spec"]["requirements"]}
        assert wanted["karpenter.sh/capacity-type"] == [str(group.market)]
        assert "nvidia.com/gpu.product" not in wanted, "no node of a cold pool has GPU feature discovery's labels"


def test_a_pool_of_shares_or_slices_is_not_limited_by_whole_gpus_of_which_karpenter_knows_alone():
    limits = {pool["metadata"]["name"]: pool["spec"]["limits"] for pool in node_pools(MIXED)}
    assert "nvidia.com/gpu" in limits["gpu-spot"]
    assert all(set(limits[name]) == {"cpu"} for name in ("gpu-shared", "gpu-mig", "cpu"))


def test_every_flavor_of_a_queue_lists_every_covered_resource_in_order_spot_first():
    catalog = MIXED.model_copy(update={"teams": (TEAM,)})
    (group,) = one(kueue_objects(catalog), "ClusterQueue")["spec"]["resourceGroups"]
    assert group["coveredResources"][:3] == ["cpu", "memory", "nvidia.com/gpu"]
    for flavor in group["flavors"]:
        assert [resource["name"] for resource in flavor["resources"]] == group["coveredResources"]
    assert group["flavors"][0]["name"] == "gpu-spot"


def test_a_queue_takes_its_teams_namespace_and_preempts_by_rules_that_are_said():
    spec = one(kueue_objects(BUILT_IN.model_copy(update={"teams": (TEAM,)})), "ClusterQueue")["spec"]
    assert spec["namespaceSelector"] == {"matchLabels": {"kubernetes.io/metadata.name": "team-vision"}}
    assert spec["cohortName"] == "slipway"
    assert set(spec["preemption"]) == {"withinClusterQueue", "reclaimWithinCohort", "borrowWithinCohort"}


def test_heads_which_tolerate_nothing_are_admitted_to_on_demand_machines_without_gpus_alone():
    flavors = [o for o in kueue_objects(MIXED) if o["kind"] == "ResourceFlavor"]
    # Kueue gives every pod the tolerations of its flavor, so a flavor that has some takes heads.
    assert not any("tolerations" in flavor["spec"] for flavor in flavors)
    assert [flavor["metadata"]["name"] for flavor in flavors if "nodeTaints" not in flavor["spec"]] == ["cpu"]


def test_kueue_orders_by_the_numbers_that_the_scheduler_has():
    numbers = {o["metadata"]["name"]: o["value"] for o in kueue_objects(BUILT_IN) if "value" in o}
    assert numbers == {tier.name: tier.priority for tier in BUILT_IN.tiers}


def test_kueues_limits_on_groups_hold_for_the_committed_catalog():
    names = [group.name for group in BUILT_IN.worker_groups]
    assert len(names) <= 17
    assert not {"head", "headgroup"} & set(names)


def test_rendering_twice_gives_the_same_bytes_and_no_yaml_references():
    first, second = (rendered_files(MIXED, "source\n") for _ in range(2))
    assert first == second
    for name, text in first.items():
        if name.endswith(".yaml") and not name.endswith("catalog.yaml"):
            assert not {"&id001", "*id001"} & set(text.split())
            assert all(document is not None for document in yaml.safe_load_all(text))
