"""The stand-in operator makes of custom objects what KubeRay would, and says what it says. No process is started."""

import pytest

from tests.kube.objects import CPU_AND_MEMORY, cluster_spec, namespace, quota, ray_cluster, worker_group
from tests.kube.standin.admission import default_admission
from tests.kube.standin.api.objects import Api
from tests.kube.standin.definitions import installed
from tests.kube.standin.events import Recorder
from tests.kube.standin.operator.clusters import Clusters
from tests.kube.standin.operator.job_validation import job_problem
from tests.kube.standin.operator.start_command import start_command
from tests.kube.standin.operator.validation import cluster_problem, name_problem

GPU = {**CPU_AND_MEMORY, "nvidia.com/gpu": "1"}


class Operated:
    """An operator at work on objects in memory."""

    def __init__(self):
        self.api = Api(default_admission())
        self.clusters = Clusters(self.api, Recorder(self.api, "kuberay-operator"))
        for obj in (*installed(("ray.io",)), namespace("team-a")):
            self.add(obj)

    def add(self, obj):
        """Create an object."""
        kind = self.api.kinds.of(obj)
        return self.api.create(kind, obj["metadata"].get("namespace"), obj)

    def cluster(self):
        """Give the RayCluster `rc` as it is now."""
        return self.api.find("rayclusters", "team-a", "rc")

    def change(self, **fields):
        """Change the fields of the first worker group of `rc`."""
        group = {**self.cluster()["spec"]["workerGroupSpecs"][0], **fields}
        patch = {"spec": {"workerGroupSpecs": [group]}}
        self.api.patch(self.api.kinds.named("rayclusters"), "team-a", "rc", patch)

    def pods(self, kind="worker"):
        """Give the names of the pods of one type."""
        found = self.api.list(self.api.kinds.named("pods"), "team-a", f"ray.io/node-type={kind}")
        return [one["metadata"]["name"] for one in found]

    def said(self):
        """Give the reasons and messages of all events."""
        return [(one["reason"], one["message"]) for one in self.api.list(self.api.kinds.named("events"), "team-a")]


@pytest.fixture
def operated():
    return Operated()


def test_a_cluster_gets_a_head_with_the_autoscaler_beside_it(operated):
    operated.add(ray_cluster("rc", worker_group("gpu", GPU)))
    operated.clusters.step()
    head = operated.api.find("pods", "team-a", "rc-head")
    assert [one["name"] for one in head["spec"]["containers"]] == ["ray-head", "autoscaler"]
    assert head["spec"]["restartPolicy"] == "Never"
    assert head["spec"]["serviceAccountName"] == "rc"
    line = head["spec"]["containers"][0]["args"][0]
    assert "ray start --head --block" in line
    assert "--no-monitor" in line
    assert operated.pods() == []
    assert ("CreatedHeadPod", "Created head Pod team-a/rc-head") in operated.said()


def test_replicas_become_workers(operated):
    operated.add(ray_cluster("rc", worker_group("gpu", GPU)))
    operated.change(replicas=2)
    operated.clusters.step()
    assert len(operated.pods()) == 2
    assert operated.cluster()["status"]["desiredWorkerReplicas"] == 2


def test_more_replicas_than_the_maximum_are_not_made(operated):
    operated.add(ray_cluster("rc", worker_group("gpu", GPU, most=1)))
    operated.change(replicas=3)
    operated.clusters.step()
    assert len(operated.pods()) == 1


def test_the_workers_that_the_autoscaler_names_go(operated):
    operated.add(ray_cluster("rc", worker_group("gpu", GPU)))
    operated.change(replicas=2)
    operated.clusters.step()
    stays, goes = operated.pods()
    operated.change(replicas=1, scaleStrategy={"workersToDelete": [goes]})
    operated.clusters.step()
    assert operated.pods() == [stays]


def test_fewer_replicas_alone_take_no_worker_from_an_autoscaled_group(operated):
    operated.add(ray_cluster("rc", worker_group("gpu", GPU)))
    operated.change(replicas=2)
    operated.clusters.step()
    operated.change(replicas=0)
    operated.clusters.step()
    assert len(operated.pods()) == 2


def test_a_worker_that_has_ended_is_replaced(operated):
    operated.add(ray_cluster("rc", worker_group("gpu", GPU)))
    operated.change(replicas=1)
    operated.clusters.step()
    (before,) = operated.pods()
    pods = operated.api.kinds.named("pods")
    operated.api.set_status(pods, operated.api.get(pods, "team-a", before), {"phase": "Failed"})
    operated.clusters.step()
    operated.clusters.step()
    (after,) = operated.pods()
    assert after != before


def test_a_quota_that_refuses_a_worker_is_told_in_an_event_and_a_condition(operated):
    operated.add(quota({"requests.nvidia.com/gpu": "0"}))
    operated.add(ray_cluster("rc", worker_group("gpu", GPU)))
    operated.change(replicas=1)
    operated.clusters.step()
    ((reason, message),) = [one for one in operated.said() if one[0].startswith("Failed")]
    assert reason == "FailedToCreateWorkerPod"
    assert message.startswith("Failed to create worker Pod for the cluster team-a/rc, pods ")
    assert message.endswith(
        "is forbidden: exceeded quota: team, requested: requests.nvidia.com/gpu=1, used: requests.nvidia.com/gpu=0,"
        " limited: requests.nvidia.com/gpu=0"
    )
    conditions = {one["type"]: one for one in operated.cluster()["status"]["conditions"]}
    assert conditions["ReplicaFailure"]["reason"] == "FailedCreateWorkerPod"


def test_a_spec_that_the_api_takes_and_the_operator_does_not_makes_nothing(operated):
    wrong = ray_cluster("rc", worker_group("gpu", GPU))
    wrong["spec"]["autoscalerOptions"].pop("version")
    operated.add(wrong)
    operated.clusters.step()
    assert operated.pods("head") == []
    ((reason, message),) = operated.said()
    assert reason == "InvalidRayClusterSpec"
    assert "worker group gpu: idleTimeoutSeconds is set, but autoscaler v2 is not enabled" in message


def test_a_suspended_cluster_has_no_pods(operated):
    operated.add(ray_cluster("rc", worker_group("gpu", GPU)))
    operated.clusters.step()
    patch = {"spec": {"suspend": True}}
    operated.api.patch(operated.api.kinds.named("rayclusters"), "team-a", "rc", patch)
    operated.clusters.step()
    assert operated.pods("head") == []
    assert operated.cluster()["status"]["state"] == "suspended"


def test_everything_of_a_cluster_goes_with_it(operated):
    operated.add(ray_cluster("rc", worker_group("gpu", GPU)))
    operated.clusters.step()
    operated.api.delete(operated.api.kinds.named("rayclusters"), "team-a", "rc")
    left = {resource for resource, obj in operated.api.store.everything() if obj["metadata"].get("namespace")}
    assert left == {"events", "events.events.k8s.io"}


@pytest.mark.parametrize(
    ("fields", "flags"),
    [
        ({}, ["--address=rc:6379", "--block", "--num-cpus=1", "--num-gpus=1", "--memory=1073741824"]),
        ({"resources": {"CPU": "8", "train": "1"}}, ["--num-cpus=8", "--num-gpus=1", "--resources='{\"train\": 1.0}'"]),
        ({"labels": {"ray.io/market-type": "spot"}}, ["--labels=ray.io/market-type=spot"]),
        (
            {"rayStartParams": {"num-cpus": "0", "include-log-monitor": "false"}},
            ["--num-cpus=0", "--include-log-monitor=false"],
        ),
    ],
)
def test_the_start_command_says_what_the_group_has(fields, flags):
    line = start_command({**worker_group("gpu", GPU), **fields}, head=False, autoscaling=True, address="rc:6379")
    assert all(f"{flag} " in f"{line} " for flag in flags), line


def test_mig_devices_are_gpus_to_the_operator():
    group = worker_group("mig", {**CPU_AND_MEMORY, "nvidia.com/mig-1g.10gb": "2"})
    assert "--num-gpus=2" in start_command(group, head=False, autoscaling=True, address="rc:6379")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"minReplicas": 3}, "worker group gpu has minReplicas 3 greater than maxReplicas 2"),
        ({"resources": {"GPU": "1"}, "rayStartParams": {"num-gpus": "1"}}, "resource fields should not be set in both"),
        ({"rayStartParams": {"labels": "a=b"}}, "rayStartParams['labels'] is not supported for gpu group"),
        ({"suspend": True}, "worker group gpu cannot be suspended with Autoscaler enabled"),
    ],
)
def test_a_group_that_the_operator_refuses_is_told_why(change, problem):
    assert problem in cluster_problem(cluster_spec(worker_group("gpu", GPU, **change)))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"rayVersion": "2.50.0"}, "minimum Ray version is 2.52.0, got 2.50.0"),
        ({"networkPolicy": {}}, "spec.networkPolicy requires the RayClusterNetworkPolicy feature gate"),
        (
            {"gcsFaultToleranceOptions": {"backend": "rocksdb"}},
            "requires the GCSFaultToleranceEmbeddedStorage feature gate",
        ),
    ],
)
def test_a_cluster_that_the_operator_refuses_is_told_why(change, problem):
    assert problem in cluster_problem({**cluster_spec(worker_group("gpu", GPU)), **change})


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"ttlSecondsAfterFinished": 60}, "shutdownAfterJobFinishes set to false cannot have TTLSecondsAfterFinished"),
        ({"suspend": True}, "shutdownAfterJobFinishes set to false is not allowed to be suspended"),
        (
            {"clusterSelector": {"ray.io/cluster": "rc"}, "backoffLimit": 1},
            "BackoffLimit is incompatible with ClusterSelector",
        ),
        ({"runtimeEnvYAML": "a: ["}, "failed to unmarshal RuntimeEnvYAML"),
        ({"activeDeadlineSeconds": 0}, "activeDeadlineSeconds must be a positive integer"),
        (
            {
                "shutdownAfterJobFinishes": True,
                "deletionStrategy": {"deletionRules": [{"policy": "DeleteSelf", "condition": {"jobStatus": "FAILED"}}]},
            },
            "spec.shutdownAfterJobFinishes and spec.deletionStrategy.deletionRules are mutually exclusive",
        ),
    ],
)
def test_a_job_that_the_operator_refuses_is_told_why(change, problem):
    assert problem in job_problem({"rayClusterSpec": cluster_spec(worker_group("gpu", GPU)), **change})


def test_right_specs_have_no_problem():
    spec = cluster_spec(worker_group("gpu", GPU, priority=10))
    assert cluster_problem(spec) is None
    assert job_problem({"rayClusterSpec": spec, "shutdownAfterJobFinishes": True, "ttlSecondsAfterFinished": 5}) is None


def test_long_and_wrong_names_are_refused():
    assert name_problem("RayJob", "x" * 48, 47) == "RayJob name should be no more than 47 characters"
    assert "valid DNS1035 label" in name_problem("RayJob", "1st", 47)
