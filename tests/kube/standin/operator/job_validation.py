"""The operator's rules for RayJobs; each gives KubeRay's sentence."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import yaml

from tests.kube.standin.operator.validation import cluster_problem

_INVALID = "The RayJob spec is invalid: "
_POLICIES = ("DeleteWorkers", "DeleteCluster", "DeleteSelf")

Spec = dict[str, Any]


def job_problem(spec: Spec) -> str | None:
    """Say what is wrong with a RayJob's spec; None when nothing is."""
    return next(_problems(spec), None)


def _problems(spec: Spec) -> Iterator[str]:
    yield from _end_problems(spec)
    yield from _deletion_problems(spec)
    yield from _mode_problems(spec)
    yield from _content_problems(spec)


def _end_problems(spec: Spec) -> Iterator[str]:
    shutdown, seconds = bool(spec.get("shutdownAfterJobFinishes")), spec.get("ttlSecondsAfterFinished", 0)
    if spec.get("suspend") and not shutdown:
        yield _INVALID + "a RayJob with shutdownAfterJobFinishes set to false is not allowed to be suspended"
    if seconds < 0:
        yield _INVALID + "TTLSecondsAfterFinished must be a non-negative integer"
    if not shutdown and seconds > 0:
        yield _INVALID + "a RayJob with shutdownAfterJobFinishes set to false cannot have TTLSecondsAfterFinished"


def _deletion_problems(spec: Spec) -> Iterator[str]:
    rules = (spec.get("deletionStrategy") or {}).get("deletionRules") or ()
    if rules and spec.get("shutdownAfterJobFinishes"):
        yield (
            _INVALID + "spec.shutdownAfterJobFinishes and spec.deletionStrategy.deletionRules are mutually exclusive"
        )
    autoscaling = bool((spec.get("rayClusterSpec") or {}).get("enableInTreeAutoscaling"))
    seconds: dict[str, dict[str, int]] = {}
    for index, rule in enumerate(rules):
        policy, condition = rule["policy"], rule["condition"]
        about = f"deletionRules[{index}]: DeletionPolicyType '{policy}' not supported"
        if spec.get("clusterSelector") and policy in ("DeleteCluster", "DeleteWorkers"):
            yield f"{about} when ClusterSelector is set"
        if policy == "DeleteWorkers" and autoscaling:
            yield f"{about} with autoscaling enabled"
        state = condition.get("jobStatus") or condition.get("jobDeploymentStatus") or ""
        seconds.setdefault(state, {})[policy] = condition.get("ttlSeconds", 0)
    for state, waits in seconds.items():
        given = [(policy, waits[policy]) for policy in _POLICIES if policy in waits]
        for (before, less), (after, more) in pairwise(given):
            if less > more:
                yield f"for JobStatus '{state}': {after} TTL ({more}) must be >= {before} TTL ({less})"


def _mode_problems(spec: Spec) -> Iterator[str]:
    selector, mode, retries = spec.get("clusterSelector"), spec.get("submissionMode"), spec.get("backoffLimit") or 0
    if not selector and not spec.get("rayClusterSpec"):
        yield _INVALID + "one of RayClusterSpec or ClusterSelector must be set"
    if selector and spec.get("suspend"):
        yield _INVALID + "the ClusterSelector mode doesn't support the suspend operation"
    if selector and mode == "SidecarMode":
        yield "ClusterSelector is not supported in SidecarMode"
    if selector and retries > 0:
        yield _INVALID + "BackoffLimit is incompatible with ClusterSelector mode"
    if mode == "InteractiveMode" and retries > 0:
        yield _INVALID + "BackoffLimit is incompatible with InteractiveMode"


def _content_problems(spec: Spec) -> Iterator[str]:
    if cluster := spec.get("rayClusterSpec"):
        if (cluster.get("authOptions") or {}).get("enableK8sTokenAuth"):
            yield _INVALID + "K8s token auth mode is currently not supported for RayJob"
        if problem := cluster_problem(cluster):
            yield _INVALID + problem
        if cluster.get("upgradeStrategy"):
            yield "upgradeStrategy cannot be set when RayCluster is created by RayJob"
    try:
        yaml.safe_load(spec.get("runtimeEnvYAML") or "")
    except yaml.YAMLError as error:
        yield f"failed to unmarshal RuntimeEnvYAML: {spec['runtimeEnvYAML']}: {error}"
    for field in ("activeDeadlineSeconds", "preRunningDeadlineSeconds"):
        if spec.get(field) is not None and spec[field] <= 0:
            yield f"{_INVALID}{field} must be a positive integer"
    if (spec.get("backoffLimit") or 0) < 0:
        yield _INVALID + "backoffLimit must be a positive integer"
