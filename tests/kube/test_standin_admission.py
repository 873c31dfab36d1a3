"""The stand-in admits, completes and refuses objects as Kubernetes does, in its words."""

import pytest

from tests.kube.objects import CPU_AND_MEMORY, pod, quota, ray_cluster, worker_group
from tests.kube.standin import ApiError
from tests.kube.standin.admission.schemas import FOLDER

needs_schemas = pytest.mark.skipif(
    not FOLDER.exists(), reason=f"needs the CRD files in {FOLDER.name} beside the repository"
)


def _refused(kube, obj) -> str:
    with pytest.raises(ApiError) as refused:
        kube.apply(obj)
    assert refused.value.code == 403
    return refused.value.message


def test_a_quota_is_exceeded_in_kubernetes_words(kube):
    kube.apply(quota({"requests.nvidia.com/gpu": "2", "requests.cpu": "10"}))
    kube.apply(pod("a", {"cpu": "1", "nvidia.com/gpu": "1"}))
    assert _refused(kube, pod("b", {"cpu": "1", "nvidia.com/gpu": "2"})) == (
        'pods "b" is forbidden: exceeded quota: team, requested: requests.nvidia.com/gpu=2, used:'
        " requests.nvidia.com/gpu=1, limited: requests.nvidia.com/gpu=2"
    )


def test_a_quota_of_limits_of_gpus_does_nothing(kube):
    kube.apply(quota({"limits.nvidia.com/gpu": "1"}))
    kube.apply(pod("a", {"nvidia.com/gpu": "8"}))


def test_a_quota_of_cpu_wants_every_container_to_say_what_it_needs(kube):
    kube.apply(quota({"requests.cpu": "10", "limits.memory": "1Gi"}))
    assert _refused(kube, pod("a", {"memory": "1Gi"})) == (
        'pods "a" is forbidden: failed quota: team: must specify limits.memory for: main; requests.cpu for: main'
    )


def test_a_limit_range_says_it_for_them(kube):
    limits = {"type": "Container", "default": {"cpu": "2", "memory": "2Gi"}, "defaultRequest": {"cpu": "500m"}}
    metadata = {"name": "defaults", "namespace": "team-a"}
    kube.apply({"apiVersion": "v1", "kind": "LimitRange", "metadata": metadata, "spec": {"limits": [limits]}})
    kube.apply([quota({"requests.cpu": "10", "limits.memory": "4Gi"}), pod("a")])
    resources = kube.get("pods", "a", "team-a")["spec"]["containers"][0]["resources"]
    assert resources == {"limits": {"cpu": "2", "memory": "2Gi"}, "requests": {"cpu": "500m", "memory": "2Gi"}}


def test_objects_are_counted_and_the_count_is_given_back(kube):
    kube.apply(quota({"count/rayclusters.ray.io": "1", "pods": "1"}))
    kube.apply(ray_cluster("one", worker_group("gpu", CPU_AND_MEMORY)))
    assert _refused(kube, ray_cluster("two", worker_group("gpu", CPU_AND_MEMORY))) == (
        'rayclusters.ray.io "two" is forbidden: exceeded quota: team, requested: count/rayclusters.ray.io=1, used:'
        " count/rayclusters.ray.io=1, limited: count/rayclusters.ray.io=1"
    )
    kube.delete("rayclusters", "one", "team-a")
    kube.apply(ray_cluster("two", worker_group("gpu", CPU_AND_MEMORY)))


def test_a_quota_tells_what_is_used(kube):
    kube.apply(
        [quota({"requests.memory": "8Gi", "pods": "5"}), pod("a", {"memory": "512Mi"}), pod("b", {"memory": "1Gi"})]
    )
    assert kube.get("resourcequotas", "team", "team-a")["status"]["used"] == {"requests.memory": "1536Mi", "pods": "2"}
    kube.delete("pods", "b", "team-a")
    assert kube.get("resourcequotas", "team", "team-a")["status"]["used"] == {"requests.memory": "512Mi", "pods": "1"}


def test_a_pod_that_has_ended_uses_nothing(kube):
    kube.apply([quota({"pods": "1"}), pod("a")])
    kube.set_status("pods", "a", {"phase": "Succeeded"}, "team-a")
    kube.apply(pod("b"))


def test_a_quota_for_one_priority_class_leaves_the_others_alone(kube):
    for name, value in (("training-critical", 500), ("development", 100)):
        kube.apply(
            {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}, "value": value}
        )
    scope = {"scopeName": "PriorityClass", "operator": "In", "values": ["training-critical"]}
    kube.apply(quota({"pods": "0"}, scopeSelector={"matchExpressions": [scope]}))
    kube.apply(pod("a", priorityClassName="development"))
    assert kube.get("pods", "a", "team-a")["spec"]["priority"] == 100
    assert "exceeded quota: team, requested: pods=1" in _refused(kube, pod("b", priorityClassName="training-critical"))


def test_an_unknown_priority_class_is_refused(kube):
    refused = _refused(kube, pod("a", priorityClassName="urgent"))
    assert refused == 'pods "a" is forbidden: no PriorityClass with name urgent was found'


def test_an_unknown_service_account_is_refused(kube):
    assert 'serviceaccount "robot" not found' in _refused(kube, pod("a", serviceAccountName="robot"))


def test_an_autoscaled_group_has_its_bounds_whatever_is_left_out(kube):
    group = worker_group("gpu", CPU_AND_MEMORY)
    for field in ("replicas", "minReplicas", "maxReplicas"):
        del group[field]
    kube.apply(ray_cluster("rc", group))
    stored = kube.get("rayclusters", "rc", "team-a")["spec"]["workerGroupSpecs"][0]
    assert (stored["replicas"], stored["minReplicas"], stored["maxReplicas"]) == (0, 0, 2147483647)


@needs_schemas
def test_unknown_fields_vanish_without_a_word(kube):
    cluster = ray_cluster("rc", worker_group("gpu", CPU_AND_MEMORY))
    cluster["spec"]["idleTerminationOptions"] = {"timeoutSeconds": 60}
    kube.apply(cluster)
    assert "idleTerminationOptions" not in kube.get("rayclusters", "rc", "team-a")["spec"]


@needs_schemas
def test_a_value_of_the_wrong_type_is_invalid(kube):
    with pytest.raises(ApiError) as refused:
        kube.apply(ray_cluster("rc", worker_group("gpu", CPU_AND_MEMORY, most="two")))
    assert refused.value.code == 422
    assert "spec.workerGroupSpecs[0].maxReplicas in body must be of type integer" in refused.value.message


@needs_schemas
def test_every_custom_kind_of_ours_is_in_the_schemas_at_the_same_versions(kube):
    for kind in (one for one in kube.api.kinds if one.custom):
        text = next(FOLDER.glob(f"*/{kind.group}_{kind.plural}.yaml")).read_text()
        assert f"name: {kind.version}\n" in text, f"{kind.resource} {kind.version}"
