"""KubeRay: its operator and its CustomResourceDefinitions."""

import re
from collections.abc import Iterator

from platform_app.domain.doctor.finding import Finding, error, few
from platform_app.domain.doctor.snapshot import Object, Snapshot, Wanted, name_of

OPERATOR_VERSION = "1.7"
"""The KubeRay that the manifests and the pre-flight rules were written for."""

_INSTALL = "helm upgrade --install kuberay-operator kuberay/kuberay-operator --version 1.7.0 -n kuberay-system --values k8s/bootstrap/kuberay-operator.yaml"  # noqa: E501  # one line to copy
_CRDS = 'kubectl apply --server-side -k "github.com/ray-project/kuberay/ray-operator/config/crd?ref=v1.7.0"'
"""Helm never changes CRDs, and a client-side apply cannot: they are larger than its annotation may be."""
_CLUSTER_FIELDS = (
    "enableInTreeAutoscaling",
    "autoscalerOptions.version",
    "authOptions.mode",
    "authOptions.secretName",
    "gcsFaultToleranceOptions.redisAddress",
    "headGroupSpec.labels",
)
_OWN_FIELDS = {
    "rayclusters.ray.io": ("spec", ()),
    "rayservices.ray.io": ("spec.rayClusterConfig", ("spec.upgradeStrategy.type", "spec.serveConfigV2")),
    "rayjobs.ray.io": (
        "spec.rayClusterSpec",
        ("spec.jobId", "spec.submissionMode", "spec.backoffLimit", "spec.ttlSecondsAfterFinished"),
    ),
}
"""Where each definition has a cluster's spec, and the fields beside it that the platform writes."""


def operator_runs(cluster: Snapshot, _wanted: Wanted) -> Iterator[Finding]:
    """See that one operator runs: without it objects of KubeRay are stored and nothing happens."""
    found = _operators(cluster)
    if not found:
        what = "no KubeRay operator runs: Ray clusters and dedicated jobs are stored, and nothing comes of them"
        yield error("operator-absent", what, ["no Deployment is named or has an image kuberay-operator"], _INSTALL)
    for one in found:
        wanted, ready = one["spec"].get("replicas", 1), (one.get("status") or {}).get("readyReplicas", 0)
        if not ready:
            namespace, name = name_of(one).split("/")
            mend = f"kubectl -n {namespace} describe deployment {name}; kubectl -n {namespace} logs deployment/{name}"
            yield error(
                "operator-not-ready",
                "the KubeRay operator does not run",
                [f"Deployment {name_of(one)}: {ready} of {wanted} ready"],
                mend,
            )


def operator_version(cluster: Snapshot, _wanted: Wanted) -> Iterator[Finding]:
    """See that the operator is the one whose rules and defaults the manifests go by."""
    for one in _operators(cluster):
        version = _version(one)
        if version and not re.match(rf"{re.escape(OPERATOR_VERSION)}(\.|$)", version):
            what = f"the KubeRay operator is {version}; the manifests are for {OPERATOR_VERSION}"
            yield error("operator-version", what, [f"Deployment {name_of(one)}: {version}"], f"{_CRDS} && {_INSTALL}")


def definitions(cluster: Snapshot, wanted: Wanted) -> Iterator[Finding]:
    """See that the CRDs are there, and know each field that we write: one they lack is dropped in silence.

    An operator and CRDs that differ once deleted all workers (ray-project/kuberay#2084).
    """
    installed = {one["metadata"]["name"]: one for one in cluster.all("CustomResourceDefinition")}
    if absent := sorted(_OWN_FIELDS.keys() - installed.keys()):
        yield error("crd-absent", "the cluster does not know KubeRay's objects", absent, _CRDS)
    groups = {f"workerGroupSpecs.{field}" for group in wanted.worker_groups.values() for field in group}
    for name, (place, own) in _OWN_FIELDS.items():
        if name not in installed:
            continue
        fields = (*own, *(f"{place}.{field}" for field in (*_CLUSTER_FIELDS, *sorted(groups))))
        schema = _schema(installed[name])
        if schema is None:
            evidence = [f"{name} serves no version v1"]
        else:
            evidence = [f"{name} v1 has no field {field}" for field in fields if not _has(schema, field.split("."))]
        if evidence:
            what = f"the CRD {name} is older than the manifests: what it does not know is dropped without a word"
            yield error("crd-older", what, few(evidence), _CRDS)


def _operators(cluster: Snapshot) -> list[Object]:
    return [
        one
        for one in cluster.all("Deployment")
        if "kuberay-operator" in one["metadata"]["name"] or "kuberay/operator" in _image(one)
    ]


def _image(deployment: Object) -> str:
    containers = deployment["spec"]["template"]["spec"].get("containers") or [{}]
    return str(containers[0].get("image", ""))


def _version(deployment: Object) -> str:
    tag = _image(deployment).partition("@")[0].rpartition("/")[2].partition(":")[2]
    labelled = (deployment["metadata"].get("labels") or {}).get("app.kubernetes.io/version", "")
    return next((text.removeprefix("v") for text in (tag, labelled) if re.match(r"v?\d+\.\d+", text)), "")


def _schema(definition: Object) -> Object | None:
    for version in definition["spec"].get("versions") or ():
        if version["name"] == "v1" and version.get("served"):
            found: Object = (version.get("schema") or {}).get("openAPIV3Schema") or {}
            return found
    return None


def _has(schema: Object, path: list[str]) -> bool:
    while schema.get("type") == "array":
        schema = schema.get("items") or {}
    if not path or schema.get("x-kubernetes-preserve-unknown-fields"):
        return True
    below = (schema.get("properties") or {}).get(path[0])
    return below is not None and _has(below, path[1:])
