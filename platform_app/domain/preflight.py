"""What the KubeRay operator refuses, found before anything is sent.

The API server takes a RayJob that the operator then refuses with no more than an event: nothing runs, nothing is said.
These are the rules of KubeRay 1.7 (`ray-operator/controllers/ray/utils/validation.go`) over manifests as plain
dictionaries, and Kueue 0.19's own where its label is on. Field paths are those of the manifest.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from platform_app.errors import FieldProblem

Manifest = Mapping[str, Any]

_LONGEST_NAME = {"RayCluster": 53, "RayJob": 47, "RayService": 47, "RayCronJob": 36}
_DNS_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_SIZES = ("num-cpus", "num-gpus", "memory", "resources")
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
_MOST_GROUPS_IN_A_QUEUE = 17
_REDIS_FIELDS = ("redisAddress", "redisUsername", "redisPassword", "externalStorageNamespace")
_DELETIONS = ("DeleteWorkers", "DeleteCluster", "DeleteSelf")
"""In the order in which they may happen: the time to live of one is no longer than that of the next."""


def preflight(manifest: Manifest) -> tuple[FieldProblem, ...]:
    """Say what the operator would refuse of a RayCluster, RayJob, RayService or RayCronJob; nothing where it takes it.

    Raises:
        KeyError: it is of another kind.
    """
    checks = {"RayCluster": _ray_cluster, "RayJob": _ray_job, "RayService": _ray_service, "RayCronJob": _ray_cron_job}
    check = checks[manifest.get("kind", "")]
    return (*_name(manifest), *check(manifest))


def _name(manifest: Manifest) -> Iterator[FieldProblem]:
    kind, name = manifest["kind"], manifest.get("metadata", {}).get("name", "")
    longest = _LONGEST_NAME[kind]
    if len(name) > longest:
        yield FieldProblem("metadata.name", f"at most {longest} characters for a {kind}; got {len(name)}: {name}")
    if not _DNS_1035.fullmatch(name):
        expected = "expected small letters, digits and dashes, a letter first and no dash last"
        yield FieldProblem("metadata.name", f"{expected}; got {name!r}")


def _ray_cluster(manifest: Manifest) -> Iterator[FieldProblem]:
    yield from _cluster(manifest.get("spec", {}), "spec")


def _ray_service(manifest: Manifest) -> Iterator[FieldProblem]:
    spec = manifest.get("spec", {})
    cluster = spec.get("rayClusterConfig", {})
    yield from _owned_cluster(cluster, "spec.rayClusterConfig")
    if cluster.get("headGroupSpec", {}).get("headService", {}).get("metadata", {}).get("name"):
        field = "spec.rayClusterConfig.headGroupSpec.headService.metadata.name"
        yield FieldProblem(field, "a RayService names the head's service itself: leave it out")
    upgrade = spec.get("upgradeStrategy", {})
    if upgrade.get("type") != "NewClusterWithIncrementalUpgrade":
        return
    if not cluster.get("enableInTreeAutoscaling"):
        field = "spec.rayClusterConfig.enableInTreeAutoscaling"
        yield FieldProblem(field, "an incremental upgrade needs the autoscaler: write true")
    options = upgrade.get("clusterUpgradeOptions")
    field = "spec.upgradeStrategy.clusterUpgradeOptions"
    if not options:
        yield FieldProblem(field, "an incremental upgrade needs it")
        return
    step, surge = options.get("stepSizePercent", 0), options.get("maxSurgePercent", 100)
    if not 0 < step <= surge:
        yield FieldProblem(f"{field}.stepSizePercent", f"expected 1 to maxSurgePercent ({surge}); got {step}")
    if options.get("intervalSeconds", 0) <= 0:
        yield FieldProblem(f"{field}.intervalSeconds", "expected a number of seconds above 0")
    if not options.get("gatewayClassName"):
        yield FieldProblem(f"{field}.gatewayClassName", "required for an incremental upgrade")


def _ray_cron_job(manifest: Manifest) -> Iterator[FieldProblem]:
    spec = manifest.get("spec", {})
    if "TZ=" in spec.get("schedule", ""):
        yield FieldProblem("spec.schedule", "a schedule names no time zone: use spec.timeZone")
    yield from _job(spec.get("jobTemplate", {}), "spec.jobTemplate", labels={})


def _ray_job(manifest: Manifest) -> Iterator[FieldProblem]:
    yield from _job(manifest.get("spec", {}), "spec", manifest.get("metadata", {}).get("labels") or {})


def _job(spec: Manifest, path: str, labels: Mapping[str, str]) -> Iterator[FieldProblem]:
    selector, shutdown = spec.get("clusterSelector"), spec.get("shutdownAfterJobFinishes", False)
    cluster = spec.get("rayClusterSpec")
    if not selector and not cluster:
        yield FieldProblem(f"{path}.rayClusterSpec", "expected one of rayClusterSpec and clusterSelector")
    if selector and not selector.get("ray.io/cluster"):
        yield FieldProblem(f"{path}.clusterSelector", "expected the cluster's name under ray.io/cluster")
    if spec.get("suspend") and not shutdown:
        yield FieldProblem(f"{path}.suspend", "a job that can be suspended needs shutdownAfterJobFinishes: true")
    if spec.get("suspend") and selector:
        yield FieldProblem(f"{path}.suspend", "a job on a selected cluster cannot be suspended")
    yield from _times(spec, path)
    yield from _submission(spec, path)
    yield from _deletion(spec, path)
    yield from _runtime_env(spec, path)
    if cluster:
        yield from _owned_cluster(cluster, f"{path}.rayClusterSpec")
        if labels.get(QUEUE_LABEL):
            yield from _queued(spec, path)


def _times(spec: Manifest, path: str) -> Iterator[FieldProblem]:
    ttl = spec.get("ttlSecondsAfterFinished", 0)
    if ttl < 0:
        yield FieldProblem(f"{path}.ttlSecondsAfterFinished", f"expected 0 or more seconds; got {ttl}")
    if ttl > 0 and not spec.get("shutdownAfterJobFinishes"):
        yield FieldProblem(f"{path}.ttlSecondsAfterFinished", "needs shutdownAfterJobFinishes: true")
    for name in ("activeDeadlineSeconds", "preRunningDeadlineSeconds"):
        if name in spec and spec[name] <= 0:
            yield FieldProblem(f"{path}.{name}", f"expected more than 0 seconds; got {spec[name]}")


def _submission(spec: Manifest, path: str) -> Iterator[FieldProblem]:
    mode, selector, retries = spec.get("submissionMode"), spec.get("clusterSelector"), spec.get("backoffLimit", 0)
    if retries < 0:
        yield FieldProblem(f"{path}.backoffLimit", f"expected 0 or more; got {retries}")
    if retries > 0 and selector:
        yield FieldProblem(f"{path}.backoffLimit", "a job on a selected cluster is not tried again: write 0")
    if retries > 0 and mode == "InteractiveMode":
        yield FieldProblem(f"{path}.backoffLimit", "an interactive job is not tried again: write 0")
    if mode != "SidecarMode":
        return
    if selector:
        yield FieldProblem(f"{path}.submissionMode", "SidecarMode needs a cluster of its own")
    for name in ("submitterPodTemplate", "submitterConfig"):
        if spec.get(name):
            yield FieldProblem(f"{path}.{name}", "SidecarMode has no submitter pod: leave it out")
    head = spec.get("rayClusterSpec", {}).get("headGroupSpec", {}).get("template", {}).get("spec", {})
    if head.get("restartPolicy", "Never") != "Never":
        field = f"{path}.rayClusterSpec.headGroupSpec.template.spec.restartPolicy"
        yield FieldProblem(field, f"SidecarMode needs Never; got {head['restartPolicy']}")


def _deletion(spec: Manifest, path: str) -> Iterator[FieldProblem]:
    rules = spec.get("deletionStrategy", {}).get("deletionRules", [])
    field = f"{path}.deletionStrategy.deletionRules"
    if rules and spec.get("shutdownAfterJobFinishes"):
        yield FieldProblem(field, "not together with shutdownAfterJobFinishes")
    scales = spec.get("rayClusterSpec", {}).get("enableInTreeAutoscaling")
    lives: dict[str, dict[str, int]] = {}
    for number, rule in enumerate(rules):
        condition = rule.get("condition", {})
        if rule.get("policy") == "DeleteWorkers" and (scales or spec.get("clusterSelector")):
            why = "not where the autoscaler owns the workers, or on a selected cluster"
            yield FieldProblem(f"{field}.{number}.policy", f"DeleteWorkers: {why}")
        when = condition.get("jobStatus") or condition.get("jobDeploymentStatus")
        if not when or ("jobStatus" in condition and "jobDeploymentStatus" in condition):
            expected = "expected exactly one of jobStatus and jobDeploymentStatus"
            yield FieldProblem(f"{field}.{number}.condition", expected)
        elif rule.get("policy") in lives.setdefault(when, {}):
            yield FieldProblem(f"{field}.{number}", f"a second rule for {rule['policy']} when {when}")
        else:
            lives[when][rule.get("policy", "")] = condition.get("ttlSeconds", 0)
    for when, ttl in lives.items():
        order = [policy for policy in _DELETIONS if policy in ttl]
        if [ttl[policy] for policy in order] != sorted(ttl[policy] for policy in order):
            yield FieldProblem(field, f"when {when}: ttlSeconds must grow from {' to '.join(order)}")


def _runtime_env(spec: Manifest, path: str) -> Iterator[FieldProblem]:
    text = spec.get("runtimeEnvYAML", "")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        yield FieldProblem(f"{path}.runtimeEnvYAML", f"is not YAML: {error}")
        return
    if value is not None and not isinstance(value, dict):
        yield FieldProblem(f"{path}.runtimeEnvYAML", f"expected a mapping; got {type(value).__name__}")


def _queued(spec: Manifest, path: str) -> Iterator[FieldProblem]:
    """Check what Kueue's webhook refuses of a job in one of its queues."""
    groups = spec["rayClusterSpec"].get("workerGroupSpecs", [])
    if not spec.get("shutdownAfterJobFinishes"):
        yield FieldProblem(f"{path}.shutdownAfterJobFinishes", "a job in a Kueue queue needs true")
    if len(groups) > _MOST_GROUPS_IN_A_QUEUE:
        expected = f"a job in a Kueue queue has at most {_MOST_GROUPS_IN_A_QUEUE} worker groups"
        yield FieldProblem(f"{path}.rayClusterSpec.workerGroupSpecs", f"{expected}; got {len(groups)}")
    for number, group in enumerate(groups):
        if group.get("groupName") == "head":
            field = f"{path}.rayClusterSpec.workerGroupSpecs.{number}.groupName"
            yield FieldProblem(field, "in a Kueue queue no worker group is named head")


def _owned_cluster(spec: Manifest, path: str) -> Iterator[FieldProblem]:
    """Check the cluster of a RayJob or RayService."""
    if spec.get("upgradeStrategy"):
        yield FieldProblem(f"{path}.upgradeStrategy", "only for a RayCluster of its own: leave it out")
    if spec.get("authOptions", {}).get("enableK8sTokenAuth"):
        yield FieldProblem(f"{path}.authOptions.enableK8sTokenAuth", "only for a RayCluster of its own: leave it out")
    yield from _cluster(spec, path)


def _cluster(spec: Manifest, path: str) -> Iterator[FieldProblem]:
    head, groups = spec.get("headGroupSpec", {}), spec.get("workerGroupSpecs", [])
    v2 = spec.get("autoscalerOptions", {}).get("version") == "v2"
    yield from _group(head, f"{path}.headGroupSpec", v2)
    names = [group.get("groupName", "") for group in groups]
    for number, group in enumerate(groups):
        where = f"{path}.workerGroupSpecs.{number}"
        yield from _group(group, where, v2)
        yield from _worker_group(spec, group, where, v2)
        if names.count(names[number]) > 1 or not names[number]:
            yield FieldProblem(f"{where}.groupName", f"expected a name of its own; got {names[number]!r}")
    yield from _authentication(spec, path)
    yield from _fault_tolerance(spec, path)
    if spec.get("autoscalerOptions", {}).get("version") and "RAY_enable_autoscaler_v2" in _env(head):
        field = f"{path}.headGroupSpec.template.spec.containers.0.env"
        yield FieldProblem(field, "RAY_enable_autoscaler_v2 and autoscalerOptions.version exclude each other")


def _group(group: Manifest, path: str, v2: bool) -> Iterator[FieldProblem]:
    pod = group.get("template", {}).get("spec", {})
    parameters = group.get("rayStartParams") or {}
    if not pod.get("containers"):
        yield FieldProblem(f"{path}.template.spec.containers", "needs a container; Ray's comes first")
    if v2 and pod.get("restartPolicy", "Never") != "Never":
        field = f"{path}.template.spec.restartPolicy"
        yield FieldProblem(field, f"autoscaler v2 needs Never; got {pod['restartPolicy']}")
    if "labels" in parameters:
        yield FieldProblem(f"{path}.rayStartParams.labels", f"write them in {path}.labels")
    for name, value in parameters.items():
        if not isinstance(value, str):
            yield FieldProblem(f"{path}.rayStartParams.{name}", f'expected text; got {value!r}, write "{value}"')
    if group.get("resources") and (twice := [name for name in _SIZES if name in parameters]):
        yield FieldProblem(f"{path}.resources", f"not together with rayStartParams {', '.join(twice)}")


def _worker_group(spec: Manifest, group: Manifest, path: str, v2: bool) -> Iterator[FieldProblem]:
    fewest, most = group.get("minReplicas", 0), group.get("maxReplicas", 2**31 - 1)
    if fewest < 0:
        yield FieldProblem(f"{path}.minReplicas", f"expected 0 or more; got {fewest}")
    if fewest > most:
        yield FieldProblem(f"{path}.minReplicas", f"is more than maxReplicas: {fewest} > {most}")
    if not spec.get("enableInTreeAutoscaling") and not {"minReplicas", "maxReplicas"} <= group.keys():
        yield FieldProblem(f"{path}.minReplicas", "without the autoscaler, minReplicas and maxReplicas are required")
    if group.get("suspend") and spec.get("enableInTreeAutoscaling"):
        yield FieldProblem(f"{path}.suspend", "not where the autoscaler owns the workers")
    for name in ("idleTimeoutSeconds", "priority"):
        if name in group and not v2:
            yield FieldProblem(f"{path}.{name}", "needs autoscalerOptions.version: v2")
    if "priority" in group and not _at_least(spec, (2, 56)):
        yield FieldProblem(f"{path}.priority", f"needs rayVersion 2.56.0 or newer; got {spec.get('rayVersion')!r}")


def _authentication(spec: Manifest, path: str) -> Iterator[FieldProblem]:
    options = spec.get("authOptions", {})
    if options.get("mode") == "token" and not _at_least(spec, (2, 52)):
        version = spec.get("rayVersion")
        yield FieldProblem(f"{path}.authOptions.mode", f"token needs rayVersion 2.52.0 or newer; got {version!r}")
    if not options.get("enableK8sTokenAuth"):
        return
    field = f"{path}.authOptions.enableK8sTokenAuth"
    if not _at_least(spec, (2, 55)):
        yield FieldProblem(field, f"needs rayVersion 2.55.0 or newer; got {spec.get('rayVersion')!r}")
    if options.get("mode") != "token":
        yield FieldProblem(field, "needs mode: token")
    if options.get("secretName"):
        yield FieldProblem(field, "not together with secretName")


def _fault_tolerance(spec: Manifest, path: str) -> Iterator[FieldProblem]:
    options, field = spec.get("gcsFaultToleranceOptions"), f"{path}.gcsFaultToleranceOptions"
    env = _env(spec.get("headGroupSpec", {}))
    if "RAY_REDIS_ADDRESS" in env:
        yield FieldProblem(f"{field}.redisAddress", "write it here instead of in RAY_REDIS_ADDRESS")
    if options is None:
        return
    if "REDIS_PASSWORD" in env:
        yield FieldProblem(f"{field}.redisPassword", "write it here instead of in REDIS_PASSWORD")
    if options.get("backend", "redis") == "rocksdb":
        if wrong := [name for name in _REDIS_FIELDS if name in options]:
            yield FieldProblem(field, f"rocksdb takes no {', '.join(wrong)}")
        storage = options.get("storage", {})
        if "claimName" in storage and {"size", "storageClassName", "accessModes"} & storage.keys():
            yield FieldProblem(f"{field}.storage", "claimName names a volume that is there: give nothing else")
    elif "storage" in options:
        yield FieldProblem(f"{field}.storage", "only for backend: rocksdb")


def _env(group: Manifest) -> Sequence[str]:
    containers = group.get("template", {}).get("spec", {}).get("containers") or [{}]
    return [one["name"] for one in containers[0].get("env", [])]


def _at_least(spec: Manifest, wanted: tuple[int, int]) -> bool:
    found = re.match(r"(\d+)\.(\d+)", str(spec.get("rayVersion", "")))
    return found is not None and (int(found[1]), int(found[2])) >= wanted
