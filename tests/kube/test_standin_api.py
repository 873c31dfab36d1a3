"""The API server of the stand-in, through the official client, behaves as clients rely on."""

import json
import shutil
import subprocess
import threading
import time

import pytest
import urllib3
from kubernetes import watch
from kubernetes.client import ApiException

from tests.kube.objects import CPU_AND_MEMORY, pod, ray_cluster, worker_group

CLUSTERS = {"group": "ray.io", "version": "v1", "namespace": "team-a", "plural": "rayclusters"}
GROUP = worker_group("gpu", CPU_AND_MEMORY)
JSON_PATCH = "application/json-patch+json"


def _refusal(refused) -> dict:
    return json.loads(refused.value.body)


@pytest.fixture
def cluster(customs):
    """Give a RayCluster that is there."""
    return customs.create_namespaced_custom_object(**CLUSTERS, body=ray_cluster("rc", GROUP))


def test_a_new_object_is_completed(cluster):
    metadata = cluster["metadata"]
    assert {"uid", "resourceVersion", "creationTimestamp"} <= metadata.keys()
    assert metadata["generation"] == 1


def test_a_name_is_generated(pods):
    generated = pods.create_namespaced_pod("team-a", {"metadata": {"generateName": "w-"}, "spec": pod("w")["spec"]})
    assert len(generated.metadata.name) == len("w-") + 5


def test_an_object_without_a_name_is_invalid(pods):
    with pytest.raises(ApiException) as refused:
        pods.create_namespaced_pod("team-a", {"metadata": {}, "spec": pod("w")["spec"]})
    assert refused.value.status == 422


def test_a_second_object_of_a_name_is_refused(cluster, customs):
    with pytest.raises(ApiException) as refused:
        customs.create_namespaced_custom_object(**CLUSTERS, body=ray_cluster("rc", GROUP))
    assert refused.value.status == 409
    assert _refusal(refused)["message"] == 'rayclusters.ray.io "rc" already exists'


def test_a_dry_run_stores_nothing(customs):
    made = customs.create_namespaced_custom_object(**CLUSTERS, body=ray_cluster("rc", GROUP), dry_run="All")
    assert made["metadata"]["uid"]
    assert customs.list_namespaced_custom_object(**CLUSTERS)["items"] == []


def test_what_is_not_there_is_said(customs):
    with pytest.raises(ApiException) as refused:
        customs.get_namespaced_custom_object(**CLUSTERS, name="no")
    assert _refusal(refused)["message"] == 'rayclusters.ray.io "no" not found'


def test_a_namespace_that_is_not_there_is_said(pods):
    with pytest.raises(ApiException) as refused:
        pods.create_namespaced_pod("team-z", pod("w", where="team-z"))
    assert _refusal(refused)["message"] == 'namespaces "team-z" not found'


def test_a_crd_that_is_not_installed_is_an_unknown_resource(kube, customs):
    kube.delete("customresourcedefinitions", "rayclusters.ray.io")
    with pytest.raises(ApiException) as refused:
        customs.list_namespaced_custom_object(**CLUSTERS)
    assert _refusal(refused)["message"] == "the server could not find the requested resource"


def test_lists_are_selected_by_labels_and_fields(kube, pods):
    for name, labels in (("a", {"tier": "x", "kind": "w"}), ("b", {"tier": "y"}), ("c", {})):
        made = pod(name)
        made["metadata"]["labels"] = labels
        kube.apply(made)

    def names(**selectors):
        return [one.metadata.name for one in pods.list_namespaced_pod("team-a", **selectors).items]

    assert names(label_selector="tier=x,kind==w") == ["a"]
    assert names(label_selector="tier!=x") == ["b", "c"]
    assert names(label_selector="tier in (x, y),!kind") == ["b"]
    assert names(label_selector="tier notin (x)") == ["b", "c"]
    assert names(field_selector="metadata.name=c,status.phase!=Running") == ["c"]
    assert [one.metadata.name for one in pods.list_pod_for_all_namespaces().items] == ["a", "b", "c"]


def test_a_guarded_patch_changes_one_group(cluster, customs):
    guard = {"op": "test", "path": "/spec/workerGroupSpecs/0/groupName", "value": "gpu"}
    change = {"op": "replace", "path": "/spec/workerGroupSpecs/0/maxReplicas", "value": 8}
    patched = customs.patch_namespaced_custom_object(
        **CLUSTERS, name="rc", body=[guard, change], _content_type=JSON_PATCH
    )
    assert patched["spec"]["workerGroupSpecs"][0]["maxReplicas"] == 8
    assert patched["metadata"]["generation"] == 2


@pytest.mark.parametrize(
    ("patch", "content_type", "code"),
    [
        ([{"op": "test", "path": "/spec/rayVersion", "value": "1.0"}], JSON_PATCH, 422),
        ([{"op": "replace", "path": "/spec/no/where", "value": 1}], JSON_PATCH, 422),
        ([{"op": "replace", "path": "/spec/rayVersion", "value": "3"}], "application/merge-patch+json", 400),
        ({"spec": {"rayVersion": "3"}}, "application/strategic-merge-patch+json", 415),
    ],
)
def test_a_patch_that_cannot_be_is_refused(cluster, customs, patch, content_type, code):
    with pytest.raises(ApiException) as refused:
        customs.patch_namespaced_custom_object(**CLUSTERS, name="rc", body=patch, _content_type=content_type)
    assert refused.value.status == code
    assert customs.get_namespaced_custom_object(**CLUSTERS, name="rc") == cluster


def test_a_replacement_of_what_is_not_there_adds_it(cluster, customs):
    named = {"op": "replace", "path": "/spec/workerGroupSpecs/0/scaleStrategy", "value": {"workersToDelete": ["w"]}}
    patched = customs.patch_namespaced_custom_object(**CLUSTERS, name="rc", body=[named], _content_type=JSON_PATCH)
    assert patched["spec"]["workerGroupSpecs"][0]["scaleStrategy"] == {"workersToDelete": ["w"]}


def test_null_in_a_merge_patch_deletes(cluster, customs):
    patched = customs.patch_namespaced_custom_object(
        **CLUSTERS, name="rc", body={"spec": {"autoscalerOptions": None}}, _content_type="application/merge-patch+json"
    )
    assert "autoscalerOptions" not in patched["spec"]


def test_a_strategic_patch_of_a_pod_keeps_its_other_containers(kube, pods):
    made = pod("w")
    made["spec"]["containers"].append({"name": "side", "image": "side:1"})
    kube.apply(made)
    change = {"spec": {"containers": [{"name": "main", "image": "app:2"}]}}
    patched = pods.patch_namespaced_pod("w", "team-a", change)
    assert [one.image for one in patched.spec.containers] == ["app:2", "side:1"]


def test_an_applied_configuration_takes_back_what_it_leaves_out(kube, customs):
    apply = {"field_manager": "slipway", "_content_type": "application/apply-patch+yaml"}
    customs.patch_namespaced_custom_object(**CLUSTERS, name="rc", body=ray_cluster("rc", GROUP), **apply)
    customs.patch_namespaced_custom_object(
        **CLUSTERS,
        name="rc",
        body={"metadata": {"labels": {"by": "other"}}},
        _content_type="application/merge-patch+json",
    )
    less = ray_cluster("rc", GROUP)
    del less["spec"]["autoscalerOptions"]
    applied = customs.patch_namespaced_custom_object(**CLUSTERS, name="rc", body=less, **apply)
    assert "autoscalerOptions" not in applied["spec"]
    assert applied["metadata"]["labels"] == {"by": "other"}


def test_a_stale_object_is_a_conflict(cluster, customs):
    changed = {**cluster, "metadata": {**cluster["metadata"], "labels": {"a": "b"}}}
    customs.replace_namespaced_custom_object(**CLUSTERS, name="rc", body=changed)
    with pytest.raises(ApiException) as refused:
        customs.replace_namespaced_custom_object(**CLUSTERS, name="rc", body=cluster)
    assert refused.value.status == 409
    assert (
        "the object has been modified; please apply your changes to the latest version" in _refusal(refused)["message"]
    )


def test_status_has_an_endpoint_of_its_own(cluster, customs):
    sneaky = {**cluster, "status": {"state": "ready"}, "spec": cluster["spec"]}
    assert "status" not in customs.replace_namespaced_custom_object(**CLUSTERS, name="rc", body=sneaky)
    status = {"status": {"state": "ready"}, "spec": {"rayVersion": "9"}}
    told = customs.patch_namespaced_custom_object_status(
        **CLUSTERS, name="rc", body=status, _content_type="application/merge-patch+json"
    )
    assert told["status"] == {"state": "ready"}
    assert told["spec"] == cluster["spec"]
    assert told["metadata"]["generation"] == 1


def test_a_finalizer_holds_an_object_until_it_is_taken_off(customs):
    held = ray_cluster("rc", GROUP)
    held["metadata"]["finalizers"] = ["slipway/wait"]
    customs.create_namespaced_custom_object(**CLUSTERS, body=held)
    customs.delete_namespaced_custom_object(**CLUSTERS, name="rc")
    assert customs.get_namespaced_custom_object(**CLUSTERS, name="rc")["metadata"]["deletionTimestamp"]
    customs.patch_namespaced_custom_object(
        **CLUSTERS, name="rc", body={"metadata": {"finalizers": None}}, _content_type="application/merge-patch+json"
    )
    assert customs.list_namespaced_custom_object(**CLUSTERS)["items"] == []


def test_what_an_object_owns_goes_with_it(kube, cluster, customs):
    owned = pod("rc-head")
    uid = cluster["metadata"]["uid"]
    owned["metadata"]["ownerReferences"] = [{"apiVersion": "ray.io/v1", "kind": "RayCluster", "name": "rc", "uid": uid}]
    kube.apply(owned)
    customs.delete_namespaced_custom_object(**CLUSTERS, name="rc")
    assert kube.get("pods", "rc-head", "team-a") is None


def test_a_collection_is_deleted_by_selector(kube, pods):
    for name in ("a", "b"):
        made = pod(name)
        made["metadata"]["labels"] = {"name": name}
        kube.apply(made)
    pods.delete_collection_namespaced_pod("team-a", label_selector="name=a")
    assert [one["metadata"]["name"] for one in kube.list("pods")] == ["b"]


def test_a_watch_tells_what_was_there_and_what_comes_and_ends_in_time(kube, pods):
    kube.apply(pod("a"))
    threading.Timer(0.3, lambda: kube.apply(pod("b"))).start()
    threading.Timer(0.6, lambda: kube.delete("pods", "a", "team-a")).start()
    begun = time.monotonic()
    seen = [
        (event["type"], event["object"].metadata.name)
        for event in watch.Watch().stream(pods.list_namespaced_pod, "team-a", timeout_seconds=2)
    ]
    assert seen == [("ADDED", "a"), ("ADDED", "b"), ("DELETED", "a")]
    assert time.monotonic() - begun < 5


def test_a_watch_goes_on_where_a_list_was(kube, pods):
    kube.apply(pod("a"))
    version = pods.list_namespaced_pod("team-a").metadata.resource_version
    kube.apply(pod("b"))
    stream = watch.Watch().stream(pods.list_namespaced_pod, "team-a", resource_version=version, timeout_seconds=1)
    assert [event["object"].metadata.name for event in stream] == ["b"]


def test_a_namespace_that_is_being_deleted_takes_no_more(kube, pods):
    held = ray_cluster("rc", GROUP)
    held["metadata"]["finalizers"] = ["slipway/wait"]
    kube.apply([pod("w"), held])
    pods.delete_namespace("team-a")
    with pytest.raises(ApiException) as refused:
        pods.create_namespaced_pod("team-a", pod("x"))
    assert refused.value.status == 403
    assert "unable to create new content in namespace team-a because it is being terminated" in refused.value.body
    assert kube.list("pods", "team-a") == []
    kube.apply({**held, "metadata": {**held["metadata"], "finalizers": []}})
    assert kube.get("namespaces", "team-a") is None


def test_requests_are_there_to_read(kube, pods):
    pods.list_namespaced_pod("team-a")
    assert kube.requests[-1].right == ("list", "", "pods")
    assert kube.requests[-1].code == 200


def test_a_planned_fault_comes_as_often_as_planned(kube, pods):
    kube.fault(verb="list", resource="pods", times=1, forbid=True)
    with pytest.raises(ApiException) as refused:
        pods.list_namespaced_pod("team-a")
    why = 'User "kubernetes-admin" cannot list resource "pods" in API group "" in the namespace "team-a"'
    assert _refusal(refused)["message"] == f"pods is forbidden: {why}"
    pods.list_namespaced_pod("team-a")


def test_a_server_that_goes_away_closes_the_connection(kube, pods):
    kube.fault(cut=True)
    with pytest.raises((urllib3.exceptions.HTTPError, ApiException)):
        pods.list_namespaced_pod("team-a", _request_timeout=2)
    kube.heal()
    pods.list_namespaced_pod("team-a")


def test_a_slow_server_is_slow(kube, pods):
    kube.fault(delay_seconds=0.5, times=1)
    begun = time.monotonic()
    pods.list_namespaced_pod("team-a")
    assert time.monotonic() - begun >= 0.5


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl")
def test_kubectl_gets_and_applies(kube, tmp_path):
    def kubectl(*words: str) -> str:
        command = ["kubectl", f"--kubeconfig={kube.kubeconfig}", f"--cache-dir={tmp_path}", *words]
        return subprocess.run(command, check=True, text=True, capture_output=True, timeout=30).stdout

    file = tmp_path / "cluster.yaml"
    file.write_text(json.dumps(ray_cluster("rc", GROUP)))
    assert "created" in kubectl("apply", "--validate=false", "-f", str(file))
    assert "applied" in kubectl("apply", "--server-side", "--force-conflicts", "--validate=false", "-f", str(file))
    assert "rc" in kubectl("get", "rayclusters", "-n", "team-a")
    assert "deleted" in kubectl("delete", "raycluster", "rc", "-n", "team-a")
