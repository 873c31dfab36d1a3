"""What is read of the cluster about a job that waits."""

from datetime import UTC, datetime

import pytest

from platform_app.adapters.kubernetes import KubernetesSigns
from platform_app.domain.causes import CAUSES
from platform_app.domain.explain import explain
from tests.fakes import FakeClock
from tests.kube.adapter.objects import NAME, NAMESPACE, a_pod, a_request, an_event
from tests.kube.objects import quota


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
