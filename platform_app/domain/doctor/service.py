"""The platform's RayService as it is written: versions, autoscaler, head, and worker groups beside the catalog."""

import copy
import re
from collections.abc import Iterator
from typing import Any

from platform_app.domain.doctor.finding import APPLY, Finding, error, warning
from platform_app.domain.doctor.placing import required_terms, selects
from platform_app.domain.doctor.quantity import amount
from platform_app.domain.doctor.snapshot import (
    Object,
    Snapshot,
    Wanted,
    labels_of,
    name_of,
    ray_cluster,
    ray_service,
    templates,
    variables,
)
from platform_app.domain.preflight import preflight

_MANIFESTS = f"`make manifests`, then {APPLY}"
_DRAIN, _DRAIN_SECONDS, _GRACE_SECONDS = "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S", 30, 30
"""Ray's drain before its end, and Kubernetes' grace before SIGKILL, where nobody says otherwise."""
_KEPT = {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false", "karpenter.sh/do-not-disrupt": "true"}
_RAY_REPOSITORIES = ("ray", "ray-ml", "ray-llm")


def refused(cluster: Snapshot, wanted: Wanted) -> Iterator[Finding]:
    """See that the operator takes the RayService: the API server stores what the operator then refuses."""
    service = ray_service(cluster, wanted)
    if service is None:
        return
    # What follows from an autoscaler that is off is told by `autoscaler`, once.
    read = copy.deepcopy({**service, "kind": "RayService"})
    read["spec"].get("rayClusterConfig", {}).update(enableInTreeAutoscaling=True)
    read["spec"].get("rayClusterConfig", {}).setdefault("autoscalerOptions", {})["version"] = "v2"
    if problems := preflight(read):
        what = f"the KubeRay operator refuses RayService {name_of(service)}"
        yield error("operator-refuses", what, [f"{one.field}: {one.message}" for one in problems], APPLY)


def autoscaler(cluster: Snapshot, wanted: Wanted) -> Iterator[Finding]:
    """See that Ray's autoscaler runs, and as v2: unset is not v2 to the operator (`…/utils/util.go`)."""
    service, spec = ray_service(cluster, wanted), ray_cluster(cluster, wanted)
    if service is None:
        return
    version = (spec.get("autoscalerOptions") or {}).get("version")
    if not spec.get("enableInTreeAutoscaling"):
        what = "Ray's autoscaler is off: worker groups stay at the size that is written, zero"
        evidence = [f"RayService {name_of(service)}: enableInTreeAutoscaling is not true"]
        yield error("autoscaler-off", what, evidence, f"enableInTreeAutoscaling: true in the RayService, then {APPLY}")
    elif version != "v2":
        what = "Ray's autoscaler is not v2: idle times and priorities of groups are refused, spot is not preferred"
        evidence = [f"RayService {name_of(service)}: autoscalerOptions.version is {version or 'not set'}"]
        yield error(
            "autoscaler-not-v2", what, evidence, f"autoscalerOptions: {{version: v2}} in the RayService, then {APPLY}"
        )


def versions(cluster: Snapshot, wanted: Wanted) -> Iterator[Finding]:
    """See that Ray is one version: what the RayService says, what images say of themselves, and ours.

    The operator decides by `rayVersion` what pods get, and Ray's processes refuse one another across versions.
    """
    spec = ray_cluster(cluster, wanted)
    if not spec:
        return
    said = spec.get("rayVersion")
    evidence = []
    if said != wanted.ray_version:
        evidence.append(f"rayVersion is {said or 'not set'}; Slipway is for {wanted.ray_version}")
    images = dict(_images(spec))
    for about, image in images.items():
        repository, tag = _split(image)
        match = re.match(r"\d+\.\d+\.\d+", tag)
        if repository.rpartition("/")[2] in _RAY_REPOSITORIES and match and match[0] != (said or wanted.ray_version):
            evidence.append(f"{about} runs {image}; rayVersion is {said or 'not set'}")
    if evidence:
        what = "Ray is of several versions: processes of one refuse those of another"
        yield error(
            "ray-versions-differ", what, evidence, f"build the images of one Ray (k8s/image/Dockerfile), then {APPLY}"
        )
    tags = {
        about: _split(image)[1]
        for about, image in images.items()
        if _split(image)[0].rpartition("/")[2] not in _RAY_REPOSITORIES
    }
    if len(set(tags.values())) > 1:
        what = "head and workers run different builds of the platform's image"
        lines = [f"{about}: {images[about]}" for about in tags]
        yield warning(
            "images-differ", what, lines, f"one tag in k8s/components/images/kustomization.yaml, then {APPLY}"
        )


def dedicated_images(cluster: Snapshot, wanted: Wanted) -> Iterator[Finding]:
    """See that clusters of dedicated jobs are made of the images that the platform's own cluster runs."""
    head = next(iter(templates(ray_cluster(cluster, wanted))), None)
    if head is None or not head[1].get("spec", {}).get("containers"):
        return
    container = head[1]["spec"]["containers"][0]
    told, runs = variables(container, cluster, wanted.namespace).get("SLIPWAY_RAY_IMAGE"), container.get("image")
    if told is not None and told != runs:
        what = "dedicated jobs run on another image than the platform: their Ray or Python may refuse the platform's"
        evidence = [f"the head's image is {runs}; SLIPWAY_RAY_IMAGE is {told}"]
        yield warning(
            "dedicated-image-differs", what, evidence, f"take components/images into the overlay, then {APPLY}"
        )


def head(cluster: Snapshot, wanted: Wanted) -> Iterator[Finding]:
    """See that nobody evicts the head, of which a cluster has one (ray-project/kuberay#5004, ray-project/ray#64907)."""
    spec = ray_cluster(cluster, wanted)
    if not spec:
        return
    template = spec.get("headGroupSpec", {}).get("template", {})
    annotations = (template.get("metadata") or {}).get("annotations") or {}
    missing = [f"no annotation {key}: {value}" for key, value in _KEPT.items() if annotations.get(key) != value]
    labels = {"ray.io/node-type": "head", **((template.get("metadata") or {}).get("labels") or {})}
    if not any(_guards(one, labels) for one in cluster.all("PodDisruptionBudget", wanted.namespace)):
        missing.append("no PodDisruptionBudget keeps one head (minAvailable: 1)")
    if missing:
        what = "the head may be evicted, and all that runs on its cluster with it"
        yield error(
            "head-evictable", what, missing, f"as in k8s/base/platform (rayservice.yaml, disruption.yaml); {APPLY}"
        )


def head_node(cluster: Snapshot, wanted: Wanted) -> Iterator[Finding]:
    """See that the head is on no spot node, and that nothing lets it come to one."""
    spec = ray_cluster(cluster, wanted)
    pod = spec.get("headGroupSpec", {}).get("template", {}).get("spec") or {}
    if not pod:
        return
    excluded = [
        {one["key"] for one in term.get("matchExpressions") or () if one["operator"] == "NotIn"}
        for term in required_terms(pod)
    ]
    # A selector of an on-demand pool does as well, and which pool that is we cannot know.
    may = not pod.get("nodeSelector") and not (excluded and all(keys >= wanted.spot_labels.keys() for keys in excluded))
    evidence = ["its node affinity does not exclude the labels of spot nodes"] if may else []
    nodes = {one["metadata"]["name"]: labels_of(one) for one in cluster.all("Node")}
    for one in cluster.all("Pod", wanted.namespace):
        on = one.get("spec", {}).get("nodeName")
        marks = [f"{k}={v}" for k, v in wanted.spot_labels.items() if nodes.get(on, {}).get(k) == v]
        if labels_of(one).get("ray.io/node-type") == "head" and marks:
            evidence.append(f"pod {name_of(one)} is on node {on} ({', '.join(marks)})")
    if evidence:
        what = "the head may go with a spot node, and all that runs on its cluster with it"
        yield error("head-on-spot", what, evidence, _MANIFESTS)


def grace(cluster: Snapshot, wanted: Wanted) -> Iterator[Finding]:
    """See that a pod has longer to end than Ray drains: else SIGKILL comes amid a last checkpoint."""
    short = []
    for about, template in templates(ray_cluster(cluster, wanted)):
        pod = template.get("spec", {})
        given = pod.get("terminationGracePeriodSeconds", _GRACE_SECONDS)
        for container in pod.get("containers", ())[:1]:
            drain = variables(container, cluster, wanted.namespace).get(_DRAIN, str(_DRAIN_SECONDS))
            if not drain.isdecimal() or int(drain) >= given:
                short.append(f"{about}: terminationGracePeriodSeconds {given}, {_DRAIN} {drain}")
    if short:
        what = "pods are killed before Ray has drained them: the last checkpoint may be cut off"
        yield error("grace-too-short", what, short, f"drain_seconds in the catalog, {_MANIFESTS}")


def groups(cluster: Snapshot, wanted: Wanted) -> Iterator[Finding]:
    """See that the cluster's groups are the catalog's: the platform admits jobs by the one, Ray scales the other."""
    spec = ray_cluster(cluster, wanted)
    if not spec:
        return
    there = {group["groupName"]: group for group in spec.get("workerGroupSpecs") or ()}
    if absent := [name for name in wanted.worker_groups if name not in there]:
        what = "the cluster lacks worker groups of the catalog: jobs are admitted to them and wait for ever"
        yield error("group-absent", what, [f"no worker group {name}" for name in absent], _MANIFESTS)
    if extra := [name for name in there if name not in wanted.worker_groups]:
        what = "the cluster has worker groups that the catalog lacks: nothing is admitted to them"
        yield warning(
            "group-unknown",
            what,
            [f"worker group {name}" for name in extra],
            f"add them to the catalog, or {_MANIFESTS}",
        )
    for name, rendered in wanted.worker_groups.items():
        has, wants = _facts(there.get(name, rendered)), _facts(rendered)
        differing = [
            f"{key}: {has.get(key)}, the catalog says {wants.get(key)}" for key in wants if has.get(key) != wants[key]
        ]
        if differing:
            what = f"worker group {name} of the cluster is not the catalog's"
            yield warning("group-differs", what, differing, _MANIFESTS)


def _facts(group: Object) -> dict[str, Any]:
    """Give what the platform reckons with of a group."""
    pod = group["template"].get("spec", {})
    limits = (pod.get("containers") or [{}])[0].get("resources", {}).get("limits") or {}
    facts = {field: group.get(field) for field in ("minReplicas", "maxReplicas", "priority", "idleTimeoutSeconds")}
    facts |= {f"labels {key}": value for key, value in (group.get("labels") or {}).items()}
    facts |= {f"resources {key}": str(amount(value)) for key, value in (group.get("resources") or {}).items()}
    facts |= {f"nodeSelector {key}": value for key, value in (pod.get("nodeSelector") or {}).items()}
    facts |= {f"limits {key}": str(amount(value)) for key, value in limits.items()}
    return facts | {"priorityClassName": pod.get("priorityClassName")}


def _images(spec: Object) -> Iterator[tuple[str, str]]:
    for about, template in templates(spec):
        for container in template.get("spec", {}).get("containers", ())[:1]:
            yield about, str(container.get("image", ""))


def _split(image: str) -> tuple[str, str]:
    """Take an image's name apart: its repository, and its tag."""
    path, _, last = image.partition("@")[0].rpartition("/")
    name, _, tag = last.partition(":")
    return f"{path}/{name}" if path else name, tag


def _guards(budget: Object, labels: dict[str, str]) -> bool:
    spec = budget["spec"]
    keeps = str(spec.get("minAvailable", "0")) not in ("0", "0%") or str(spec.get("maxUnavailable", "")) in ("0", "0%")
    return keeps and selects(spec.get("selector"), labels)
