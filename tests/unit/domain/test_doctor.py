"""A right cluster has no findings; each planted fault gives exactly its own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_app.domain.doctor import Severity, Snapshot, Unread, examine
from platform_app.domain.doctor.placing import selects, stands_on, untolerated
from platform_app.domain.doctor.quantity import amount
from platform_app.manifests.kueue import kueue_objects
from platform_app.manifests.wanted import wanted
from tests.kube.planted_faults import CATALOG, FAULTS, KUEUE_ON, TEAM, VARIANTS, add, both, change
from tests.kube.right_cluster import node, of, right_cluster, snapshot

RIGHT = wanted(CATALOG)


def found(objects):
    return examine(snapshot(objects), RIGHT)


def test_a_right_cluster_gives_no_findings():
    assert found(right_cluster()) == ()


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_gives_exactly_its_finding(name):
    plant, evidence, mend = FAULTS[name]
    objects = right_cluster()
    plant(objects)
    findings = found(objects)
    assert {one.name for one in findings} == {name}, findings
    assert evidence in "\n".join(line for one in findings for line in one.evidence)
    assert mend in findings[0].mend


@pytest.mark.parametrize(
    ("name", "plant", "evidence"), VARIANTS, ids=[f"{name}-{n}" for n, (name, *_) in enumerate(VARIANTS)]
)
def test_another_way_to_the_same_fault_gives_the_same_finding(name, plant, evidence):
    objects = right_cluster()
    plant(objects)
    findings = found(objects)
    assert {one.name for one in findings} == {name}, findings
    assert evidence in "\n".join(line for one in findings for line in one.evidence)


def test_workers_that_are_not_ready_are_no_fault():
    objects = right_cluster()
    worker = of(objects, "Pod", "slipway-x1-worker")
    assert worker["status"]["conditions"][0]["status"] == "False", "under a RayService no worker ever is"
    assert found(objects) == ()


def test_kueue_in_the_place_of_the_teams_compute_quotas_is_no_fault():
    objects = right_cluster()
    both(KUEUE_ON, add(*kueue_objects(CATALOG)))(objects)
    assert found(objects) == ()


def test_amounts_as_the_api_server_writes_them_back_are_no_difference():
    objects = right_cluster()
    change("ResourceQuota", "compute", "spec/hard/requests.memory", "256Gi", TEAM)(objects)
    assert found(objects) == ()


def test_a_node_that_is_starting_or_ending_is_no_fault():
    objects = right_cluster()
    passing = {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}
    of(objects, "Node", "gpu-1")["spec"]["taints"].append(passing)
    of(objects, "Node", "gpu-1")["status"] = {"allocatable": {}, "conditions": [{"type": "Ready", "status": "False"}]}
    assert found(objects) == ()


def test_efs_volumes_of_one_filesystem_are_the_same_files():
    objects = right_cluster()
    for number, one in enumerate(one for one in objects if one["kind"] == "PersistentVolume"):
        one["spec"] = {"csi": {"driver": "efs.csi.aws.com", "volumeHandle": f"fs-1::fsap-{number}"}}
    assert found(objects) == ()


def test_a_cluster_with_nothing_in_it_is_told_from_the_bottom_up():
    names = [one.name for one in examine(Snapshot({}), RIGHT)]
    assert names[:3] == ["operator-absent", "crd-absent", "priority-class-absent"]
    assert "ray-service-absent" in names
    assert len(names) < 20, "what follows from another finding is not told again"


def test_what_cannot_be_read_is_told_with_the_checks_that_could_not_look():
    whole = snapshot(right_cluster())
    blind = Snapshot(whole.objects, (Unread("Node", None, "me may not list nodes in all namespaces", "add verb list"),))
    (finding,) = examine(blind, RIGHT)
    assert (finding.name, finding.severity) == ("cannot-read", Severity.ERROR)
    assert "tolerations" in finding.evidence[1]
    assert finding.mend == "add verb list"


def test_a_read_that_was_refused_and_that_no_check_missed_is_a_warning():
    whole = snapshot(right_cluster())
    autoscaler = Unread(
        "ConfigMap", "kube-system", "me may not get configmaps in namespace kube-system", "add verb get"
    )
    (finding,) = examine(Snapshot(whole.objects, (autoscaler,)), RIGHT)
    assert finding.severity is Severity.WARNING


@given(st.sampled_from(sorted(snapshot(right_cluster()).objects)))
def test_no_kind_that_is_missing_breaks_a_check(kind):
    objects = [one for one in right_cluster() if one["kind"] != kind]
    for finding in found(objects):
        assert finding.what
        assert finding.evidence
        assert finding.mend


@pytest.mark.parametrize(
    ("resource", "config"), [("nvidia.com/gpu.shared", "shared-4"), ("nvidia.com/mig-1g.10gb", "mig-mixed")]
)
def test_a_node_with_whole_gpus_where_parts_are_asked_for_is_told_its_label(resource, config):
    parted = tuple(one.model_copy(update={"gpu_resource": resource}) for one in CATALOG.worker_groups[:1])
    findings = examine(snapshot(right_cluster()), wanted(CATALOG.model_copy(update={"worker_groups": parted})))
    (finding,) = (one for one in findings if one.name == "gpu-not-offered")
    assert finding.evidence == ("node gpu-1 of gpu-spot offers nvidia.com/gpu=1",)
    assert f"nvidia.com/device-plugin.config={config}" in finding.mend


@pytest.mark.parametrize(
    ("operator", "values", "meant"),
    [
        ("In", ["a"], True),
        ("In", ["b"], False),
        ("NotIn", ["a"], False),
        ("Exists", [], True),
        ("DoesNotExist", [], False),
        ("Lt", ["3"], False),
    ],
)
def test_selectors_mean_what_kubernetes_means(operator, values, meant):
    expression = {"key": "zone", "operator": operator, "values": values}
    assert selects({"matchExpressions": [expression]}, {"zone": "a"}) is meant


@pytest.mark.parametrize(
    ("toleration", "tolerated"),
    [
        ({"operator": "Exists"}, True),
        ({"key": "spot", "operator": "Exists"}, True),
        ({"key": "spot", "operator": "Exists", "effect": "NoExecute"}, False),
        ({"key": "spot", "value": "true"}, True),
        ({"key": "spot", "value": "yes"}, False),
        ({"key": "other", "operator": "Exists"}, False),
    ],
)
def test_taints_are_tolerated_as_kubernetes_does(toleration, tolerated):
    taint = {"key": "spot", "value": "true", "effect": "NoSchedule"}
    assert (untolerated({"tolerations": [toleration]}, [taint]) == []) is tolerated


def test_a_pod_stands_where_its_affinity_and_selector_let_it():
    term = {"matchExpressions": [{"key": "gen", "operator": "Gt", "values": ["4"]}]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    pod = {"nodeSelector": {"zone": "a"}, "affinity": {"nodeAffinity": required}}
    assert stands_on(pod, node("n", {"zone": "a", "gen": "5"}))
    assert not stands_on(pod, node("n", {"zone": "a", "gen": "4"}))
    assert not stands_on(pod, node("n", {"zone": "b", "gen": "5"}))
    assert not stands_on(pod, node("n", {"zone": "a", "gen": "newest"}))
    assert not stands_on(pod, node("n", {"zone": "a"}))


def test_quantities_are_equal_however_they_are_written():
    assert amount("262144Mi") == amount("256Gi") == amount(256 * 2**30)
    assert amount("500m") == amount("0.5")
    assert amount("16384Mi") != amount("16G")
    assert amount("what") == "what"
