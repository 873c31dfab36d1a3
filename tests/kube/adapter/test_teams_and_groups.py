"""Teams' namespaces and quotas, the bounds of worker groups, and the rights that all of it takes."""

from pathlib import Path

import pytest
import yaml

from platform_app.adapters.kubernetes import KubeRayJobs, KubernetesApi, KubernetesSigns, apply_team, resize
from platform_app.domain.explain import Source
from platform_app.errors import NotFound, TemporaryError
from platform_app.manifests import team_objects
from tests.fakes import FakeClock
from tests.kube.adapter.objects import CATALOG, NAME, NAMESPACE, a_pod, a_request
from tests.kube.objects import CPU_AND_MEMORY, ray_cluster, worker_group
from tests.kube.standin import ApiError


class TestTeams:
    def test_a_team_gets_its_namespace_and_quota_and_the_same_again_changes_nothing(self, kube, api):
        team = CATALOG.teams[0]
        apply_team(api, team, CATALOG)
        first = {
            body["kind"]: kube.list(f"{plural}", NAMESPACE)
            for body, plural in ((b, "resourcequotas") for b in team_objects(team, CATALOG))
        }
        assert {one["metadata"]["name"] for one in first["ResourceQuota"]} >= {"compute", "jobs"}
        before = {one["metadata"]["name"]: one["spec"] for one in kube.list("resourcequotas", NAMESPACE)}
        apply_team(api, team, CATALOG)
        assert {one["metadata"]["name"]: one["spec"] for one in kube.list("resourcequotas", NAMESPACE)} == before

    def test_a_quota_that_was_raised_in_the_catalog_is_raised(self, kube, api):
        team = CATALOG.teams[0]
        apply_team(api, team, CATALOG)
        apply_team(api, team.model_copy(update={"max_cpus": 99}), CATALOG)
        assert kube.get("resourcequotas", "compute", NAMESPACE)["spec"]["hard"]["requests.cpu"] == "99"

    def test_an_object_that_may_not_be_written_is_named(self, kube, api):
        kube.forbid("patch", "resourcequotas")
        with pytest.raises(TemporaryError, match=r"ResourceQuota compute of research: .* may not patch resourcequotas"):
            apply_team(api, CATALOG.teams[0], CATALOG)


class TestWorkerGroups:
    @pytest.fixture(autouse=True)
    def _cluster(self, kube):
        groups = (worker_group("cpu", CPU_AND_MEMORY), worker_group("gpu", CPU_AND_MEMORY, replicas=2))
        kube.apply(ray_cluster("rc", *groups, where=NAMESPACE))

    def sizes(self, kube) -> dict:
        groups = kube.get("rayclusters.ray.io", "rc", NAMESPACE)["spec"]["workerGroupSpecs"]
        return {g["groupName"]: (g["minReplicas"], g["replicas"], g["maxReplicas"]) for g in groups}

    def test_only_the_bounds_of_one_group_change(self, kube, api):
        resize(api, NAMESPACE, "rc", "gpu", 1, 8)
        assert self.sizes(kube) == {"cpu": (0, 0, 2), "gpu": (1, 2, 8)}

    def test_replicas_are_the_autoscalers_also_above_the_new_maximum(self, kube, api):
        resize(api, NAMESPACE, "rc", "gpu", 0, 1)
        assert self.sizes(kube)["gpu"] == (0, 2, 1)

    def test_a_group_that_moved_meanwhile_is_found_again(self, kube, api):
        kube.fault(verb="patch", resource="rayclusters", times=1, error=ApiError(422, "Invalid", "the test failed"))
        resize(api, NAMESPACE, "rc", "gpu", 0, 5)
        assert self.sizes(kube)["gpu"] == (0, 2, 5)

    def test_conflicts_without_end_are_temporary(self, kube, api):
        kube.fault(
            verb="patch", resource="rayclusters", error=ApiError(409, "Conflict", "the object has been modified")
        )
        with pytest.raises(TemporaryError, match="has been modified"):
            resize(api, NAMESPACE, "rc", "gpu", 0, 5)

    def test_an_unknown_group_is_told_with_those_that_there_are(self, api):
        with pytest.raises(NotFound, match="no worker group tpu; there is: cpu, gpu"):
            resize(api, NAMESPACE, "rc", "tpu", 0, 5)

    def test_an_unknown_cluster_is_told(self, api):
        with pytest.raises(NotFound, match="no RayCluster none"):
            resize(api, NAMESPACE, "none", "gpu", 0, 5)

    def test_bounds_that_contradict_each_other_are_refused(self, api):
        with pytest.raises(ValueError, match="min 3, max 2"):
            resize(api, NAMESPACE, "rc", "gpu", 3, 2)


def test_the_committed_roles_let_the_control_plane_do_all_of_it(kube):
    team, base = CATALOG.teams[0], Path(__file__).parents[3] / "k8s" / "base"
    for body in team_objects(team, CATALOG):
        kube.apply(body)
    kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "slipway"}})
    for file in ("platform/access.yaml", "teams/role.yaml"):
        for body in yaml.safe_load_all((base / file).read_text()):
            if body["kind"] not in ("Role", "RoleBinding", "ServiceAccount"):
                kube.apply(body)
    api = KubernetesApi.from_kubeconfig(kube.service_account("slipway", "slipway"))
    runner, signs = KubeRayJobs(api), KubernetesSigns(api, FakeClock(), kueue=True)
    for tier in CATALOG.tiers:
        metadata, kind = {"name": tier.name}, "PriorityClass"
        kube.apply({"apiVersion": "scheduling.k8s.io/v1", "kind": kind, "metadata": metadata, "value": tier.priority})
    runner.submit(a_request())
    runner.submit(a_request())
    assert list(runner.observe()) == [NAME]
    assert not [sign for sign in signs.of([NAME])[NAME] if sign.source is Source.API]
    assert KubeRayJobs(api).logs(NAME) == ""
    submitter = {key: value for key, value in a_pod("submitter").items() if key != "status"}
    submitter["metadata"]["labels"]["job-name"] = NAME
    kube.apply(submitter)
    assert runner.logs(NAME) == ""
    runner.release(NAME)
    refused = [seen for seen in kube.requests if seen.user.endswith("slipway:slipway") and seen.code == 403]
    assert refused == []
