"""What KubeRay's operator refuses, found before anything is sent: a test for each rule."""
# ruff: noqa: E501  # a table

import copy

import pytest

from platform_app.domain.preflight import preflight

CONTAINER = {"name": "ray", "image": "slipway:1"}


def a_cluster() -> dict:
    group = {
        "groupName": "gpu",
        "replicas": 0,
        "minReplicas": 0,
        "maxReplicas": 4,
        "priority": 10,
        "idleTimeoutSeconds": 60,
        "resources": {"CPU": "4", "GPU": "1"},
        "rayStartParams": {},
        "template": {"spec": {"restartPolicy": "Never", "containers": [CONTAINER]}},
    }
    return copy.deepcopy(
        {
            "rayVersion": "2.60.0",
            "enableInTreeAutoscaling": True,
            "autoscalerOptions": {"version": "v2"},
            "authOptions": {"mode": "token"},
            "headGroupSpec": {
                "rayStartParams": {"num-cpus": "0"},
                "template": {"spec": {"containers": [CONTAINER]}},
            },
            "workerGroupSpecs": [group],
        }
    )


def ray_cluster(**spec) -> dict:
    return {"kind": "RayCluster", "metadata": {"name": "rc"}, "spec": {**a_cluster(), **spec}}


def ray_job(**spec) -> dict:
    given = {"entrypoint": "python x.py", "shutdownAfterJobFinishes": True, "rayClusterSpec": a_cluster(), **spec}
    given = {name: value for name, value in given.items() if value is not None}
    return {"kind": "RayJob", "metadata": {"name": "digits-1"}, "spec": given}


def ray_service(**spec) -> dict:
    return {"kind": "RayService", "metadata": {"name": "s"}, "spec": {"rayClusterConfig": a_cluster(), **spec}}


def incremental(**options) -> dict:
    given = {"gatewayClassName": "istio", "stepSizePercent": 20, "maxSurgePercent": 40, "intervalSeconds": 10}
    kind = "NewClusterWithIncrementalUpgrade"
    return {"upgradeStrategy": {"type": kind, "clusterUpgradeOptions": {**given, **options}}}


def group(**fields) -> dict:
    spec = a_cluster()
    spec["workerGroupSpecs"][0] |= fields
    return {"workerGroupSpecs": spec["workerGroupSpecs"]}


def head(**pod) -> dict:
    return {"headGroupSpec": {"template": {"spec": {"containers": [CONTAINER], **pod}}}}


def env(name: str) -> dict:
    return head(containers=[{**CONTAINER, "env": [{"name": name, "value": "1"}]}])


def rules(*given: dict) -> dict:
    return {"shutdownAfterJobFinishes": None, "deletionStrategy": {"deletionRules": list(given)}}


def rule(policy: str, ttl: int = 0, status: str = "SUCCEEDED") -> dict:
    return {"policy": policy, "condition": {"jobStatus": status, "ttlSeconds": ttl}}


def named(manifest: dict, name: str) -> dict:
    return {**manifest, "metadata": {"name": name}}


def queued(**spec) -> dict:
    manifest = ray_job(**spec)
    manifest["metadata"]["labels"] = {"kueue.x-k8s.io/queue-name": "default"}
    return manifest


SELECTED = {"rayClusterSpec": None, "clusterSelector": {"ray.io/cluster": "rc"}}
ROCKS = {"backend": "rocksdb", "storage": {"size": "1Gi"}}
OLD = {**a_cluster(), "workerGroupSpecs": []}
SCALELESS = {**a_cluster(), "enableInTreeAutoscaling": False}

TAKEN = {
    "a cluster": ray_cluster(),
    "a job": ray_job(),
    "a service": ray_service(),
    "a job on a selected cluster": ray_job(**SELECTED),
    "a job that is suspended": ray_job(suspend=True),
    "a job with times": ray_job(ttlSecondsAfterFinished=60, activeDeadlineSeconds=5, backoffLimit=2),
    "deletion in order": ray_job(**rules(rule("DeleteCluster", 10), rule("DeleteSelf", 20))),
    "a runtime environment": ray_job(runtimeEnvYAML="env_vars: {A: '1'}"),
    "an incremental upgrade": ray_service(**incremental()),
    "redis": ray_cluster(gcsFaultToleranceOptions={"redisAddress": "redis:6379"}),
    "rocksdb": ray_cluster(gcsFaultToleranceOptions=ROCKS),
    "a job with a cluster and a selector": ray_job(clusterSelector={"ray.io/cluster": "rc"}),
    "a longest name": named(ray_cluster(), "r" * 53),
    "a queue": queued(),
    "a schedule": {"kind": "RayCronJob", "metadata": {"name": "c"}, "spec": {"schedule": "0 3 * * *", "jobTemplate": ray_job()["spec"]}},
}  # fmt: skip


@pytest.mark.parametrize("manifest", TAKEN.values(), ids=TAKEN)
def test_takes(manifest):
    assert preflight(manifest) == ()


REFUSED = {
    "a cluster's name of 54 characters": (named(ray_cluster(), "r" * 54), "metadata.name"),
    "a job's name of 48 characters": (named(ray_job(), "r" * 48), "metadata.name"),
    "a service's name of 48 characters": (named(ray_service(), "r" * 48), "metadata.name"),
    "a name that begins with a digit": (named(ray_job(), "1job"), "metadata.name"),
    "a head without a container": (ray_cluster(**head(containers=[])), "spec.headGroupSpec.template.spec.containers"),
    "a group without a container": (ray_cluster(**group(template={})), "spec.workerGroupSpecs.0.template.spec.containers"),
    "a group without a name": (ray_cluster(**group(groupName="")), "spec.workerGroupSpecs.0.groupName"),
    "min above max": (ray_cluster(**group(minReplicas=5)), "spec.workerGroupSpecs.0.minReplicas"),
    "a min below zero": (ray_cluster(**group(minReplicas=-1)), "spec.workerGroupSpecs.0.minReplicas"),
    "resources in two places": (ray_cluster(**group(rayStartParams={"num-gpus": "1"})), "spec.workerGroupSpecs.0.resources"),
    "labels as a start parameter": (ray_cluster(**group(rayStartParams={"labels": "a=b"})), "spec.workerGroupSpecs.0.rayStartParams.labels"),
    "a start parameter that is a number": (ray_cluster(**group(rayStartParams={"block": 1})), "spec.workerGroupSpecs.0.rayStartParams.block"),
    "a suspended group under the autoscaler": (ray_cluster(**group(suspend=True)), "spec.workerGroupSpecs.0.suspend"),
    "a group that restarts under v2": (ray_cluster(**group(template={"spec": {"restartPolicy": "Always", "containers": [CONTAINER]}})), "spec.workerGroupSpecs.0.template.spec.restartPolicy"),
    "a head that restarts under v2": (ray_cluster(**head(restartPolicy="OnFailure")), "spec.headGroupSpec.template.spec.restartPolicy"),
    "the autoscaler's version twice": (ray_cluster(**env("RAY_enable_autoscaler_v2")), "spec.headGroupSpec.template.spec.containers.0.env"),
    "a priority before 2.56": (ray_cluster(rayVersion="2.55.0"), "spec.workerGroupSpecs.0.priority"),
    "a token before 2.52": (ray_job(rayClusterSpec={**OLD, "rayVersion": "2.51.1"}), "spec.rayClusterSpec.authOptions.mode"),
    "a token without a version": (ray_cluster(**{**OLD, "rayVersion": ""}), "spec.authOptions.mode"),
    "Kubernetes' tokens before 2.55": (ray_cluster(**{**OLD, "rayVersion": "2.54.0", "authOptions": {"mode": "token", "enableK8sTokenAuth": True}}), "spec.authOptions.enableK8sTokenAuth"),
    "Kubernetes' tokens of a job": (ray_job(rayClusterSpec={**a_cluster(), "authOptions": {"mode": "token", "enableK8sTokenAuth": True}}), "spec.rayClusterSpec.authOptions.enableK8sTokenAuth"),
    "Kubernetes' tokens without token mode": (ray_cluster(authOptions={"enableK8sTokenAuth": True}), "spec.authOptions.enableK8sTokenAuth"),
    "Kubernetes' tokens beside a secret": (ray_cluster(authOptions={"mode": "token", "enableK8sTokenAuth": True, "secretName": "s"}), "spec.authOptions.enableK8sTokenAuth"),
    "an upgrade strategy of a job's cluster": (ray_job(rayClusterSpec={**a_cluster(), "upgradeStrategy": {"type": "Recreate"}}), "spec.rayClusterSpec.upgradeStrategy"),
    "redis by environment": (ray_cluster(**env("RAY_REDIS_ADDRESS")), "spec.gcsFaultToleranceOptions.redisAddress"),
    "a password of redis by environment": (ray_cluster(**env("REDIS_PASSWORD"), gcsFaultToleranceOptions={"redisAddress": "r"}), "spec.gcsFaultToleranceOptions.redisPassword"),
    "redis twice": (ray_cluster(**env("RAY_REDIS_ADDRESS"), gcsFaultToleranceOptions={"redisAddress": "r"}), "spec.gcsFaultToleranceOptions.redisAddress"),
    "redis with a volume": (ray_cluster(gcsFaultToleranceOptions={"redisAddress": "r", "storage": {}}), "spec.gcsFaultToleranceOptions.storage"),
    "rocksdb with redis": (ray_cluster(gcsFaultToleranceOptions={**ROCKS, "redisAddress": "r"}), "spec.gcsFaultToleranceOptions"),
    "rocksdb on two volumes": (ray_cluster(gcsFaultToleranceOptions={"backend": "rocksdb", "storage": {"claimName": "c", "size": "1Gi"}}), "spec.gcsFaultToleranceOptions.storage"),
    "neither a cluster nor a selector": (ray_job(rayClusterSpec=None), "spec.rayClusterSpec"),
    "a selector without a name": (ray_job(rayClusterSpec=None, clusterSelector={"app": "rc"}), "spec.clusterSelector"),
    "a time to live without a shutdown": (ray_job(shutdownAfterJobFinishes=None, ttlSecondsAfterFinished=60), "spec.ttlSecondsAfterFinished"),
    "a time to live below zero": (ray_job(ttlSecondsAfterFinished=-1), "spec.ttlSecondsAfterFinished"),
    "a suspension without a shutdown": (ray_job(shutdownAfterJobFinishes=None, suspend=True), "spec.suspend"),
    "a suspension on a selected cluster": (ray_job(**SELECTED, suspend=True), "spec.suspend"),
    "a deadline of zero": (ray_job(activeDeadlineSeconds=0), "spec.activeDeadlineSeconds"),
    "a deadline before running of zero": (ray_job(preRunningDeadlineSeconds=0), "spec.preRunningDeadlineSeconds"),
    "retries below zero": (ray_job(backoffLimit=-1), "spec.backoffLimit"),
    "retries on a selected cluster": (ray_job(**SELECTED, backoffLimit=1), "spec.backoffLimit"),
    "retries of an interactive job": (ray_job(submissionMode="InteractiveMode", backoffLimit=1), "spec.backoffLimit"),
    "a sidecar on a selected cluster": (ray_job(**SELECTED, submissionMode="SidecarMode"), "spec.submissionMode"),
    "a sidecar with a submitter's pod": (ray_job(submissionMode="SidecarMode", submitterPodTemplate={"spec": {}}), "spec.submitterPodTemplate"),
    "a sidecar with a submitter's settings": (ray_job(submissionMode="SidecarMode", submitterConfig={"backoffLimit": 1}), "spec.submitterConfig"),
    "a sidecar in a head that restarts": (ray_job(submissionMode="SidecarMode", rayClusterSpec={**a_cluster(), "autoscalerOptions": {}, **head(restartPolicy="Always"), "workerGroupSpecs": []}), "spec.rayClusterSpec.headGroupSpec.template.spec.restartPolicy"),
    "deletion twice": (ray_job(deletionStrategy={"deletionRules": [rule("DeleteSelf")]}), "spec.deletionStrategy.deletionRules"),
    "deletion of workers under the autoscaler": (ray_job(**rules(rule("DeleteWorkers"))), "spec.deletionStrategy.deletionRules.0.policy"),
    "deletion of workers of a selected cluster": (ray_job(**SELECTED, **rules(rule("DeleteWorkers"))), "spec.deletionStrategy.deletionRules.0.policy"),
    "deletion out of order": (ray_job(**rules(rule("DeleteCluster", 20), rule("DeleteSelf", 10))), "spec.deletionStrategy.deletionRules"),
    "deletion under no condition": (ray_job(**rules({"policy": "DeleteSelf"})), "spec.deletionStrategy.deletionRules.0.condition"),
    "two rules for one thing": (ray_job(**rules(rule("DeleteSelf"), rule("DeleteSelf"))), "spec.deletionStrategy.deletionRules.1"),
    "a runtime environment that is no YAML": (ray_job(runtimeEnvYAML="{a: ["), "spec.runtimeEnvYAML"),
    "a runtime environment that is a list": (ray_job(runtimeEnvYAML="[1]"), "spec.runtimeEnvYAML"),
    "a service that names its head's service": (ray_service(rayClusterConfig={**a_cluster(), "headGroupSpec": {**a_cluster()["headGroupSpec"], "headService": {"metadata": {"name": "h"}}}}), "spec.rayClusterConfig.headGroupSpec.headService.metadata.name"),
    "an incremental upgrade without the autoscaler": (ray_service(rayClusterConfig=SCALELESS, **incremental()), "spec.rayClusterConfig.enableInTreeAutoscaling"),
    "an incremental upgrade without options": (ray_service(upgradeStrategy={"type": "NewClusterWithIncrementalUpgrade"}), "spec.upgradeStrategy.clusterUpgradeOptions"),
    "a step beyond the surge": (ray_service(**incremental(stepSizePercent=50)), "spec.upgradeStrategy.clusterUpgradeOptions.stepSizePercent"),
    "steps without a pause": (ray_service(**incremental(intervalSeconds=0)), "spec.upgradeStrategy.clusterUpgradeOptions.intervalSeconds"),
    "an upgrade without a gateway": (ray_service(**incremental(gatewayClassName="")), "spec.upgradeStrategy.clusterUpgradeOptions.gatewayClassName"),
    "a schedule with a time zone": ({"kind": "RayCronJob", "metadata": {"name": "c"}, "spec": {"schedule": "TZ=UTC 0 3 * * *", "jobTemplate": ray_job()["spec"]}}, "spec.schedule"),
    "a queue without a shutdown": (queued(shutdownAfterJobFinishes=None), "spec.shutdownAfterJobFinishes"),
    "a queue with a group named head": (queued(rayClusterSpec={**a_cluster(), **group(groupName="head")}), "spec.rayClusterSpec.workerGroupSpecs.0.groupName"),
}  # fmt: skip


@pytest.mark.parametrize(("manifest", "field"), REFUSED.values(), ids=REFUSED)
def test_refuses(manifest, field):
    assert [problem.field for problem in preflight(manifest)] == [field]


def test_refuses_two_groups_of_one_name():
    spec = a_cluster()
    spec["workerGroupSpecs"] *= 2
    fields = {problem.field for problem in preflight(ray_cluster(**spec))}
    assert fields == {"spec.workerGroupSpecs.0.groupName", "spec.workerGroupSpecs.1.groupName"}


def test_refuses_what_needs_autoscaler_v2_without_it():
    fields = [problem.field for problem in preflight(ray_cluster(autoscalerOptions={}))]
    assert fields == ["spec.workerGroupSpecs.0.idleTimeoutSeconds", "spec.workerGroupSpecs.0.priority"]


def test_refuses_more_groups_than_a_queue_takes():
    groups = [{**a_cluster()["workerGroupSpecs"][0], "groupName": f"g{number}"} for number in range(18)]
    problems = preflight(queued(rayClusterSpec={**a_cluster(), "workerGroupSpecs": groups}))
    assert [problem.field for problem in problems] == ["spec.rayClusterSpec.workerGroupSpecs"]


def test_refuses_a_group_without_bounds_where_nothing_scales_it():
    spec = {**SCALELESS, "workerGroupSpecs": [dict(SCALELESS["workerGroupSpecs"][0])]}
    del spec["workerGroupSpecs"][0]["maxReplicas"]
    assert [problem.field for problem in preflight(ray_cluster(**spec))] == ["spec.workerGroupSpecs.0.minReplicas"]
