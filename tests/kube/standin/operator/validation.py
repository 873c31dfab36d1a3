"""The rules that the operator applies after the API server has accepted an object; each gives KubeRay's sentence."""

import re
from collections.abc import Iterator
from typing import Any

_DNS_1035 = re.compile(r"^[a-z]([-a-z0-9]*[a-z0-9])?$")
_DNS_1035_RULE = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character,"
    " and end with an alphanumeric character"
)
_V2 = "RAY_enable_autoscaler_v2"
_START_RESOURCES = ("num-cpus", "num-gpus", "memory", "resources")

Spec = dict[str, Any]


def name_problem(kind: str, name: str, longest: int) -> str | None:
    """Say what is wrong with a name; None when nothing is."""
    if len(name) > longest:
        return f"{kind} name should be no more than {longest} characters"
    if not _DNS_1035.match(name):
        return f"{kind} name should be a valid DNS1035 label: [{_DNS_1035_RULE}]"
    return None


def cluster_problem(spec: Spec) -> str | None:
    """Say what is wrong with a RayCluster's spec; None when nothing is."""
    return next(_cluster_problems(spec), None)


def service_problem(spec: Spec) -> str | None:
    """Say what is wrong with a RayService's spec; None when nothing is."""
    found = "The RayService spec is invalid: "
    cluster = spec["rayClusterConfig"]
    if problem := cluster_problem(cluster):
        return found + problem
    if ((cluster["headGroupSpec"].get("headService") or {}).get("metadata") or {}).get("name"):
        return found + "spec.rayClusterConfig.headGroupSpec.headService.metadata.name should not be set"
    kind = (spec.get("upgradeStrategy") or {}).get("type")
    if kind == "NewClusterWithIncrementalUpgrade" and not cluster.get("enableInTreeAutoscaling"):
        return found + "Ray Autoscaler is required for NewClusterWithIncrementalUpgrade"
    return None


def is_v2(spec: Spec) -> bool:
    """Say whether the operator counts a cluster as one with autoscaler v2."""
    return bool(spec.get("enableInTreeAutoscaling")) and (spec.get("autoscalerOptions") or {}).get("version") == "v2"


def token_auth(spec: Spec) -> bool:
    """Say whether the operator sets token authentication up: only when the mode says so in as many words."""
    return (spec.get("authOptions") or {}).get("mode") == "token"


def _cluster_problems(spec: Spec) -> Iterator[str]:
    head = spec["headGroupSpec"]
    if not head["template"]["spec"].get("containers"):
        yield "headGroupSpec should have at least one container"
        return
    yield from _group_problems("Head", head)
    autoscaling = bool(spec.get("enableInTreeAutoscaling"))
    env = {one["name"]: one.get("value") for one in head["template"]["spec"]["containers"][0].get("env") or ()}
    for group in spec.get("workerGroupSpecs") or ():
        yield from _worker_problems(spec, group, autoscaling, env)
    if "RAY_REDIS_ADDRESS" in env and not spec.get("gcsFaultToleranceOptions"):
        yield (
            "RAY_REDIS_ADDRESS is set which implicitly enables GCS fault tolerance, but GcsFaultToleranceOptions is not"
            " set. Please set GcsFaultToleranceOptions to enable GCS fault tolerance"
        )
    yield from _fault_tolerance_problems(spec, env)
    if not autoscaling and env.get(_V2) in ("1", "true"):
        yield (
            f"environment variable {_V2} cannot be set to '{env[_V2]}' when enableInTreeAutoscaling is false. Please"
            " set enableInTreeAutoscaling: true to use autoscaler v2"
        )
    if autoscaling:
        yield from _autoscaling_problems(spec, env)
    yield from _auth_problems(spec)
    for field, gate in (("networkPolicy", "RayClusterNetworkPolicy"), ("tlsOptions", "RayClusterMTLS")):
        if spec.get(field) is not None:
            yield f"spec.{field} requires the {gate} feature gate to be enabled"
    if spec.get("historyServerOptions") is not None:
        yield "RayClusterHistoryServer feature gate is not enabled"


def _worker_problems(spec: Spec, group: Spec, autoscaling: bool, env: Spec) -> Iterator[str]:
    name = group["groupName"]
    if not group["template"]["spec"].get("containers"):
        yield "workerGroupSpec should have at least one container"
        return
    least, most = group.get("minReplicas"), group.get("maxReplicas")
    if not autoscaling and (least is None or most is None):
        yield f"worker group {name} must set both minReplicas and maxReplicas when autoscaling is disabled"
    for field, value in (("minReplicas", least), ("maxReplicas", most)):
        if value is not None and value < 0:
            yield f"worker group {name} has negative {field} {value}"
    if least is not None and most is not None and least > most:
        yield f"worker group {name} has minReplicas {least} greater than maxReplicas {most}"
    yield from _group_problems(name, group)
    yield from _scaling_problems(spec, group, is_v2(spec) or env.get(_V2) in ("1", "true"))


def _scaling_problems(spec: Spec, group: Spec, v2: bool) -> Iterator[str]:
    name = group["groupName"]
    if group.get("idleTimeoutSeconds") is not None and not v2:
        yield (
            f"worker group {name}: idleTimeoutSeconds is set, but autoscaler v2 is not enabled. Please set"
            f" .spec.autoscalerOptions.version to 'v2' (or set {_V2} environment variable to 'true' in the head pod if"
            " using KubeRay < 1.4.0)"
        )
    if priority := group.get("priority"):
        if not spec.get("rayVersion"):
            yield (
                f"worker group {name}: priority is set, but RayVersion was not specified. Ray version 2.56.0 or later"
                " is required"
            )
        elif _version(spec["rayVersion"]) < (2, 56, 0):
            yield f"worker group {name}: priority is set, but minimum Ray version is 2.56.0, got {spec['rayVersion']}"
        if not v2:
            yield (
                f"worker group {name}: priority is set to {priority}, but autoscaler v2 is not enabled. Priority is"
                " only supported with autoscaler v2 enabled"
            )


def _group_problems(name: str, group: Spec) -> Iterator[str]:
    params = group.get("rayStartParams") or {}
    if group.get("resources") and any(params.get(key) for key in _START_RESOURCES):
        yield (
            f"resource fields should not be set in both rayStartParams and Resources for {name} group; please use"
            " only one"
        )
    if "labels" in params:
        yield (
            f"rayStartParams['labels'] is not supported for {name} group; please use the top-level Labels field instead"
        )


def _fault_tolerance_problems(spec: Spec, env: Spec) -> Iterator[str]:
    options = spec.get("gcsFaultToleranceOptions")
    if not options:
        return
    for variable, field in (("REDIS_PASSWORD", "RedisPassword"), ("RAY_REDIS_ADDRESS", "RedisAddress")):
        if variable in env:
            yield (
                f"cannot set `{variable}` env var in head Pod when GcsFaultToleranceOptions is enabled - use"
                f" GcsFaultToleranceOptions.{field} instead"
            )
    if options.get("backend") == "rocksdb":
        yield (
            "the embedded RocksDB GCS fault tolerance backend (GcsFaultToleranceOptions.Backend: 'rocksdb') requires"
            " the GCSFaultToleranceEmbeddedStorage feature gate to be enabled"
        )
    elif options.get("storage") is not None:
        yield (
            "cannot set GcsFaultToleranceOptions.Storage when backend is 'redis' - it only applies to the 'rocksdb'"
            " backend"
        )


def _autoscaling_problems(spec: Spec, env: Spec) -> Iterator[str]:
    options = spec.get("autoscalerOptions") or {}
    if any(group.get("suspend") for group in spec.get("workerGroupSpecs") or ()):
        name = next(group["groupName"] for group in spec["workerGroupSpecs"] if group.get("suspend"))
        yield f"worker group {name} cannot be suspended with Autoscaler enabled"
    if options.get("version") and _V2 in env:
        yield f"both .spec.autoscalerOptions.version and head Pod env var {_V2} are set, please only use the former"
    if is_v2(spec):
        if spec["headGroupSpec"]["template"]["spec"].get("restartPolicy", "Never") != "Never":
            yield "restartPolicy for head Pod should be Never or unset when using autoscaler V2"
        for group in spec.get("workerGroupSpecs") or ():
            about = f"restartPolicy for worker group {group['groupName']}"
            if group["template"]["spec"].get("restartPolicy", "Never") != "Never":
                yield f"{about} should be Never or unset when using autoscaler V2"
    if (options.get("idleTimeoutSeconds") or 0) < 0:
        yield f"autoscalerOptions.idleTimeoutSeconds must be non-negative, got {options['idleTimeoutSeconds']}"


def _auth_problems(spec: Spec) -> Iterator[str]:
    if not token_auth(spec):
        if (spec.get("authOptions") or {}).get("enableK8sTokenAuth"):
            yield "authOptions.enableK8sTokenAuth is enabled but authOptions.mode not set to 'token'"
        return
    version = spec.get("rayVersion")
    if not version:
        yield "authOptions.mode is 'token' but RayVersion was not specified. Ray version 2.52.0 or later is required"
    elif _version(version) < (2, 52, 0):
        yield f"authOptions.mode is 'token' but minimum Ray version is 2.52.0, got {version}"


def _version(text: str) -> tuple[int, ...]:
    numbers = re.findall(r"\d+", text)[:3]
    return tuple(int(number) for number in numbers)
