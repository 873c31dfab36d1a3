"""The Kubernetes adapter against an API server that refuses, lies low, or is changed by others."""

from datetime import UTC, datetime
from pathlib import Path

import kubernetes.config.kube_config
import pytest
import yaml

from platform_app.adapters.kubernetes import KubeRayJobs, KubernetesApi, KubernetesSigns, apply_team, resize
from platform_app.adapters.kubernetes import api as api_module
from platform_app.adapters.kubernetes.rayjobs import observation
from platform_app.dedicated import attempt_request
from platform_app.domain.causes import CAUSES
from platform_app.domain.explain import Source, explain
from platform_app.domain.job import Job, Reason
from platform_app.errors import NotFound, PermanentError, TemporaryError
from platform_app.launch import DedicatedContext, LaunchContext
from platform_app.manifests import team_objects
from platform_app.ports import RayJobRequest, RayJobStatus
from platform_app.specs import load_catalog
from tests.control_plane import train_spec
from tests.fakes import FakeClock
from tests.kube.objects import CPU_AND_MEMORY, quota, ray_cluster, worker_group
from tests.kube.standin import ApiError, kube_api

CATALOG = load_catalog()
NAMESPACE = "team-research"
NAME = "digits-000001-1"
CONTEXT = LaunchContext("/mnt/slipway", "http://mlflow", DedicatedContext("slipway:1", "slipway-cuda:1"))


def a_request() -> RayJobRequest:
    now = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
    spec = train_spec(cluster="dedicated", team="research")
    return attempt_request(Job("digits-000001", spec, now).admitted(now), CONTEXT, CATALOG)


@pytest.fixture(scope="module", autouse=True)
def _schemas():
    # The first object of a kind waits for its schema to be read, a megabyte of YAML: longer than the adapter waits.
    with kube_api(groups=("ray.io",)) as kube:
        kube.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}, a_request().manifest])


@pytest.fixture
def kube():
    with kube_api(groups=("ray.io", "kueue.x-k8s.io")) as kube:
        kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
        yield kube


@pytest.fixture
def api(kube):
    return KubernetesApi.from_kubeconfig(kube.kubeconfig)


@pytest.fixture
def runner(api):
    return KubeRayJobs(api)


class TestSubmitting:
    def test_without_a_kubeconfig_says_what_to_set(self, tmp_path):
        runner = KubeRayJobs(KubernetesApi.from_kubeconfig(tmp_path / "none"))
        with pytest.raises(TemporaryError, match=r"no usable kubeconfig.*SLIPWAY_KUBECONFIG"):
            runner.observe()

    def test_outside_of_a_pod_says_what_to_set(self, monkeypatch):
        monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
        with pytest.raises(TemporaryError, match="SLIPWAY_KUBERNETES=kubeconfig"):
            KubeRayJobs(KubernetesApi.in_cluster()).observe()

    def test_a_token_that_is_not_known_is_said(self, kube, tmp_path):
        config = tmp_path / "config"
        config.write_text(kube.kubeconfig.read_text().replace('"token": "', '"token": "x'))
        with pytest.raises(TemporaryError, match="does not accept our credentials"):
            KubeRayJobs(KubernetesApi.from_kubeconfig(config)).observe()

    @pytest.mark.parametrize(("verb", "act"), [("create", "submit"), ("list", "observe")])
    def test_a_missing_permission_names_verb_resource_and_role(self, kube, verb, act):
        runner = KubeRayJobs(KubernetesApi.from_kubeconfig(kube.service_account("slipway", "slipway")))
        with pytest.raises(
            TemporaryError, match=f"system:serviceaccount:slipway:slipway may not {verb} rayjobs"
        ) as told:
            getattr(runner, act)(*([a_request()] if act == "submit" else []))
        assert f"add verb {verb} on rayjobs (apiGroup ray.io) to its" in str(told.value)

    def test_a_quota_of_jobs_that_is_used_up_is_said_with_its_numbers(self, kube, runner):
        kube.apply(quota({"count/rayjobs.ray.io": "0"}, name="jobs", where=NAMESPACE))
        with pytest.raises(
            TemporaryError, match=r"quota jobs .* count/rayjobs.ray.io=1, used is count/rayjobs.ray.io=0"
        ):
            runner.submit(a_request())
        kube.delete("resourcequotas", "jobs", NAMESPACE)
        runner.submit(a_request())
        assert list(runner.observe()) == [NAME]

    def test_a_namespace_that_is_not_there_says_so(self, kube, runner):
        kube.delete("namespaces", NAMESPACE)
        with pytest.raises(TemporaryError, match=rf"(no namespace {NAMESPACE}|{NAMESPACE} is being deleted)"):
            runner.submit(a_request())

    def test_a_namespace_that_is_being_deleted_says_so(self, kube, runner):
        message = f"unable to create new content in namespace {NAMESPACE} because it is being terminated"
        kube.fault(verb="create", error=ApiError(403, "Forbidden", f'rayjobs.ray.io "{NAME}" is forbidden: {message}'))
        with pytest.raises(TemporaryError, match=f"the namespace {NAMESPACE} is being deleted; it starts when"):
            runner.submit(a_request())

    def test_a_cluster_without_kuberay_says_what_to_install(self):
        with kube_api(groups=()) as bare:
            runner = KubeRayJobs(KubernetesApi.from_kubeconfig(bare.kubeconfig))
            with pytest.raises(TemporaryError, match=r"knows no rayjobs.*install the KubeRay operator"):
                runner.observe()

    def test_an_older_kuberay_says_which_fields_it_does_not_know(self, kube, runner):
        unknown = 'unknown field "spec.rayClusterSpec.authOptions"'
        message = f'RayJob in version "v1" cannot be handled: strict decoding error: {unknown}'
        kube.fault(verb="create", error=ApiError(400, "BadRequest", message))
        with pytest.raises(
            TemporaryError, match=r"older than KubeRay 1.7 and does not know spec.rayClusterSpec.authOptions"
        ):
            runner.submit(a_request())

    def test_what_kubernetes_finds_invalid_is_refused_for_ever(self, kube, runner):
        kube.fault(verb="create", error=ApiError(422, "Invalid", "RayJob is invalid: spec.entrypoint"))
        with pytest.raises(PermanentError, match=r"spec.entrypoint"):
            runner.submit(a_request())

    def test_kuberays_own_client_takes_the_same_object(self, kube, runner, monkeypatch):
        client = pytest.importorskip(
            "python_client.kuberay_job_api", reason="KubeRay's Python client is not installed (it is on no index)"
        )
        monkeypatch.setattr(kubernetes.config.kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(kube.kubeconfig))
        client.RayjobApi().submit_job(NAMESPACE, dict(a_request().manifest))
        assert list(runner.observe()) == [NAME]

    def test_what_the_operator_would_refuse_is_not_sent(self, kube, runner):
        request = a_request()
        request.manifest["spec"]["backoffLimit"] = -1
        with pytest.raises(PermanentError, match=r"spec.backoffLimit"):
            runner.submit(request)
        assert kube.list("rayjobs.ray.io") == []

    @pytest.mark.parametrize("status", [429, 500, 503])
    def test_an_overloaded_server_is_temporary(self, kube, runner, status):
        kube.fault(error=ApiError(status, "x", "etcdserver: request timed out"))
        with pytest.raises(TemporaryError, match=f"overloaded or broken \\(HTTP {status}"):
            runner.submit(a_request())

    def test_a_server_that_answers_too_late_is_temporary(self, kube, runner, monkeypatch):
        monkeypatch.setattr(api_module, "_READ_SECONDS", 0.1)
        kube.fault(delay_seconds=1)
        with pytest.raises(TemporaryError, match="does not answer"):
            runner.observe()


class TestObserving:
    def test_jobs_of_others_are_not_ours(self, kube, runner):
        kube.apply({**a_request().manifest, "metadata": {"name": "theirs", "namespace": NAMESPACE}})
        assert runner.observe() == {}

    def test_what_a_lagging_cache_misses_is_looked_for_again(self, kube, runner):
        runner.submit(a_request())
        runner.observe()
        kube.server.seen.clear()
        kube.delete("rayjobs.ray.io", NAME, NAMESPACE)
        assert runner.observe() == {}
        assert [seen.verb for seen in kube.requests] == ["list", "list"]

    def test_a_head_that_was_replaced_is_a_lost_cluster(self, kube, runner):
        runner.submit(a_request())
        for head, lost in (("head-a", False), ("head-a", False), ("head-b", True)):
            status = {"jobDeploymentStatus": "Running", "jobStatus": "RUNNING"}
            kube.set_status(
                "rayjobs.ray.io", NAME, status | {"rayClusterStatus": {"head": {"podName": head}}}, NAMESPACE
            )
            assert (runner.observe()[NAME].cause is Reason.CLUSTER_LOST) == lost

    @pytest.mark.parametrize(
        ("status", "expected"),
        [
            ({}, (RayJobStatus.PENDING, None)),
            ({"jobDeploymentStatus": "Initializing"}, (RayJobStatus.PENDING, None)),
            ({"jobDeploymentStatus": "Suspended"}, (RayJobStatus.PENDING, None)),
            ({"jobDeploymentStatus": "Running", "jobStatus": "PENDING"}, (RayJobStatus.PENDING, None)),
            ({"jobDeploymentStatus": "Running", "jobStatus": "RUNNING"}, (RayJobStatus.RUNNING, None)),
            # Ray is done, the submitter still writes: its output is not whole yet.
            ({"jobDeploymentStatus": "Running", "jobStatus": "SUCCEEDED"}, (RayJobStatus.RUNNING, None)),
            ({"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"}, (RayJobStatus.SUCCEEDED, None)),
            ({"jobDeploymentStatus": "Complete", "jobStatus": "STOPPED"}, (RayJobStatus.STOPPED, None)),
            (
                {"jobDeploymentStatus": "Failed", "jobStatus": "FAILED", "reason": "AppFailed"},
                (RayJobStatus.FAILED, None),
            ),
            (
                {"jobDeploymentStatus": "Failed", "jobStatus": "RUNNING", "reason": "JobStatusCheckTimeoutExceeded"},
                (RayJobStatus.FAILED, Reason.CLUSTER_LOST),
            ),
            (
                {"jobDeploymentStatus": "Failed", "reason": "SubmissionFailed"},
                (RayJobStatus.FAILED, Reason.CLUSTER_LOST),
            ),
            (
                {"jobDeploymentStatus": "Failed", "jobStatus": "RUNNING", "reason": "DeadlineExceeded"},
                (RayJobStatus.FAILED, Reason.DRIVER_FAILED),
            ),
            ({"jobDeploymentStatus": "ValidationFailed"}, (RayJobStatus.FAILED, Reason.SUBMISSION_REFUSED)),
        ],
    )
    def test_a_status_of_the_operator_is_read_as(self, status, expected):
        seen = observation(status)
        assert (seen.status, seen.cause) == expected


def a_pod(component: str = "head", **status) -> dict:
    labels = {"app.kubernetes.io/managed-by": "slipway", "app.kubernetes.io/instance": NAME}
    labels |= {"app.kubernetes.io/component": component, "ray.io/group": "gpu-spot"}
    metadata = {"name": f"{NAME}-{component}", "namespace": NAMESPACE, "labels": labels}
    spec = {"containers": [{"name": "ray", "image": "x", "resources": {"limits": {"cpu": "1", "memory": "1Gi"}}}]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": spec,
        "status": {"phase": "Pending", **status},
    }


def an_event(kind: str, name: str, reason: str, message: str, at: datetime) -> dict:
    moment = at.strftime("%Y-%m-%dT%H:%M:%S.123456789Z")
    about = {"kind": kind, "name": name, "namespace": NAMESPACE}
    metadata = {"name": f"{name}.{reason.lower()}", "namespace": NAMESPACE}
    told = {"involvedObject": about, "reason": reason, "message": message, "eventTime": moment, "type": "Warning"}
    return {"apiVersion": "v1", "kind": "Event", "metadata": metadata, **told}


class TestExplaining:
    @pytest.fixture(autouse=True)
    def _submitted(self, kube, api, runner):
        runner.submit(a_request())
        self.kube = kube
        self.clock = FakeClock()
        self.signs = KubernetesSigns(api, self.clock, kueue=True)
        self.status(jobDeploymentStatus="Initializing", rayClusterName="rc")

    def status(self, **status) -> None:
        self.kube.set_status("rayjobs.ray.io", NAME, status, NAMESPACE)

    def pod(self, component: str = "head", **status) -> None:
        body = a_pod(component, **status)
        self.kube.apply({key: value for key, value in body.items() if key != "status"})
        self.kube.set_status("pods", body["metadata"]["name"], body["status"], NAMESPACE)

    def told(self) -> list[str]:
        return [one.cause for one in explain(self.signs.of([NAME])[NAME], CAUSES)]

    def test_a_cluster_that_starts_is_said_to_start(self):
        assert self.told() == ["cluster-starting"]

    def test_a_job_that_nobody_looked_at_points_to_the_operator(self):
        self.status()
        assert self.told() == ["operator-away"]

    def test_a_pod_without_a_node_is_told(self):
        condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
        self.pod(conditions=[{**condition, "message": "0/3 nodes are available: 3 Insufficient cpu."}])
        assert self.told()[0] == "no-room"

    def test_an_image_that_does_not_pull_is_told(self):
        waiting = {"reason": "ImagePullBackOff", "message": "manifest unknown: not found"}
        self.pod("worker", containerStatuses=[{"name": "ray", "state": {"waiting": waiting}}])
        assert self.told()[0] == "image-absent"

    def test_a_pod_that_was_killed_for_its_memory_is_told_while_it_backs_off(self):
        last = {"terminated": {"reason": "OOMKilled", "exitCode": 137}}
        state = {"waiting": {"reason": "CrashLoopBackOff"}}
        self.pod(phase="Running", containerStatuses=[{"name": "ray", "state": state, "lastState": last}])
        assert self.told()[0] == "out-of-memory"

    def test_an_event_about_a_pod_that_waits_counts_however_old(self):
        self.pod()
        self.kube.apply(an_event("Pod", f"{NAME}-head", "FailedMount", "timed out", datetime(2020, 1, 1, tzinfo=UTC)))
        assert self.told()[0] == "volume-mount"

    def test_a_quota_that_refuses_pods_is_told_with_its_numbers(self):
        numbers = "requested: requests.cpu=2, used: requests.cpu=8, limited: requests.cpu=8"
        message = f"pods is forbidden: exceeded quota: compute, {numbers}"
        self.kube.apply(an_event("RayCluster", "rc", "FailedToCreateHeadPod", message, self.clock.now()))
        found = explain(self.signs.of([NAME])[NAME], CAUSES)
        assert found[0].cause == "quota-exceeded"
        assert "asks for requests.cpu=2, used is requests.cpu=8 of requests.cpu=8" in found[0].why

    def test_a_refusal_that_is_long_past_explains_nothing(self):
        message = "exceeded quota: compute, requested: a=1, used: a=1, limited: a=1"
        self.kube.apply(an_event("RayCluster", "rc", "FailedToCreateHeadPod", message, self.clock.now()))
        self.clock.advance(3600)
        assert self.told() == ["cluster-starting"]

    def test_a_refusal_before_the_newest_pod_explains_nothing(self):
        message = "exceeded quota: compute, requested: a=1, used: a=1, limited: a=1"
        self.kube.apply(an_event("RayCluster", "rc", "FailedToCreateHeadPod", message, self.clock.now()))
        self.pod(containerStatuses=[{"name": "ray", "state": {"waiting": {"reason": "ContainerCreating"}}}])
        assert self.told() == ["container-starting", "cluster-starting"]

    def test_a_quota_that_is_used_up_is_told_where_nothing_else_is(self):
        self.kube.apply(quota({"pods": "1", "count/rayjobs.ray.io": "1"}, name="jobs", where=NAMESPACE))
        self.kube.set_status("resourcequotas", "jobs", {"hard": {"pods": "1"}, "used": {"pods": "1"}}, NAMESPACE)
        assert self.told()[0] == "quota-used-up"

    def test_a_queue_that_is_full_is_told(self):
        owner = {"apiVersion": "ray.io/v1", "kind": "RayJob", "name": NAME, "uid": "1"}
        metadata = {"name": "w", "namespace": NAMESPACE, "ownerReferences": [owner]}
        self.kube.apply({"apiVersion": "kueue.x-k8s.io/v1beta2", "kind": "Workload", "metadata": metadata, "spec": {}})
        moment = "2026-05-04T12:00:00Z"
        condition = {
            "type": "QuotaReserved",
            "status": "False",
            "reason": "WaitingForQuota",
            "lastTransitionTime": moment,
        }
        self.kube.set_status(
            "workloads.kueue.x-k8s.io", "w", {"conditions": [{**condition, "message": "1 more"}]}, NAMESPACE
        )
        self.status(jobDeploymentStatus="Suspended")
        assert self.told()[0] == "queue-full"

    def test_what_may_not_be_read_is_said_and_the_rest_is_told(self):
        self.kube.forbid("list", "events")
        assert self.told() == ["api-away", "cluster-starting"]

    def test_a_job_that_runs_whole_waits_for_nothing(self):
        self.status(jobDeploymentStatus="Running", jobStatus="RUNNING", rayClusterName="rc")
        self.pod(phase="Running", containerStatuses=[{"name": "ray", "state": {"running": {}}}])
        assert self.signs.of([NAME]) == {NAME: ()}

    def test_a_worker_that_is_missing_of_a_running_job_is_told(self):
        lacking = {"desiredWorkerReplicas": 2}
        self.status(jobDeploymentStatus="Running", rayClusterName="rc", rayClusterStatus=lacking)
        message = "exceeded quota: compute, requested: a=1, used: a=1, limited: a=1"
        self.kube.apply(an_event("RayCluster", "rc", "FailedToCreateWorkerPod", message, self.clock.now()))
        assert self.told() == ["quota-exceeded"]

    def test_asking_for_many_jobs_of_a_namespace_reads_each_kind_once(self):
        self.kube.server.seen.clear()
        self.signs.of([NAME, "digits-000009-1"])
        assert sorted(seen.resource for seen in self.kube.requests) == [
            "events", "pods", "rayjobs", "resourcequotas", "workloads",
        ]  # fmt: skip


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
    team, base = CATALOG.teams[0], Path(__file__).parents[2] / "k8s" / "base"
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
