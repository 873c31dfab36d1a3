"""Teams of the catalog as namespaces: quota, defaults, storage, isolation and what the control plane may do there."""

from typing import Any

from platform_app.manifests.names import (
    NAMESPACE,
    PLATFORM_CLASS,
    SERVICE_ACCOUNT,
    STORAGE_CLAIM,
    STORAGE_CLASS,
    gpu_resources,
    labels,
    memory,
)
from platform_app.specs import Catalog, TeamNamespace

COMPUTE_QUOTA = "compute"
"""Name of the quota of CPUs, memory and GPUs; the Kueue component removes it."""

TEAM_ROLE = "slipway-team"
"""ClusterRole of what the control plane does in a team's namespace."""


def team_namespace(name: str) -> str:
    """Name the namespace of a team's dedicated jobs."""
    return f"team-{name}"


def team_objects(team: TeamNamespace, catalog: Catalog) -> list[dict[str, Any]]:
    """Render a team's namespace and what is in it before the first job."""
    return [
        _namespace(team),
        _object(team, "v1", "ResourceQuota", COMPUTE_QUOTA, spec={"hard": _compute(team, catalog)}),
        _object(team, "v1", "ResourceQuota", "jobs", spec={"hard": _jobs(team)}),
        _object(team, "v1", "ResourceQuota", "no-platform-priority", spec=_no_platform_priority()),
        _object(team, "v1", "LimitRange", "defaults", spec=_defaults()),
        _object(team, "v1", "PersistentVolumeClaim", STORAGE_CLAIM, spec=storage_claim()),
        _object(team, "networking.k8s.io/v1", "NetworkPolicy", "closed", spec=_closed()),
        _object(team, "networking.k8s.io/v1", "NetworkPolicy", "no-metadata", spec=no_metadata({})),
        _object(team, "rbac.authorization.k8s.io/v1", "RoleBinding", "control-plane", **_control_plane()),
    ]


def storage_claim() -> dict[str, Any]:
    """Render the claim of the shared filesystem; a shared one has no size of its own, but the field is required."""
    return {
        "accessModes": ["ReadWriteMany"],
        "storageClassName": STORAGE_CLASS,
        "resources": {"requests": {"storage": "100Gi"}},
    }


def _namespace(team: TeamNamespace) -> dict[str, Any]:
    marks = {"slipway/team": team.name, "pod-security.kubernetes.io/enforce": "baseline"}
    metadata = {"name": team_namespace(team.name), "labels": labels("slipway", "team") | marks}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}


def _object(team: TeamNamespace, api_version: str, kind: str, name: str, **body: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": team_namespace(team.name), "labels": labels("slipway", "team")}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **body}


def _compute(team: TeamNamespace, catalog: Catalog) -> dict[str, str]:
    # A quota of an extended resource is known by `requests.` alone; `limits.nvidia.com/gpu` is accepted and never
    # enforced (`kubernetes/kubernetes:pkg/quota/v1/evaluator/core/pods.go`, isExtendedResourceNameForQuota).
    gpus = {f"requests.{resource}": str(team.max_gpus) for resource in gpu_resources(catalog)}
    cpus, gib = str(team.max_cpus), memory(team.max_memory_gib)
    return {"requests.cpu": cpus, "requests.memory": gib, "limits.cpu": cpus, "limits.memory": gib, **gpus}


def _jobs(team: TeamNamespace) -> dict[str, str]:
    # Not `pods`, which heads, submitters and cleanups count against as well. A retry makes a cluster of its own.
    count = str(team.max_jobs)
    return {"count/rayjobs.ray.io": count, "count/rayclusters.ray.io": count}


def _no_platform_priority() -> dict[str, Any]:
    scope = {"scopeName": "PriorityClass", "operator": "In", "values": [PLATFORM_CLASS]}
    return {"hard": {"pods": "0"}, "scopeSelector": {"matchExpressions": [scope]}}


def _defaults() -> dict[str, Any]:
    # Under a quota every container must say what it wants, those that the operator adds included, or it is refused.
    amounts = {"cpu": "500m", "memory": "512Mi"}
    return {"limits": [{"type": "Container", "default": amounts, "defaultRequest": dict(amounts)}]}


def _closed() -> dict[str, Any]:
    # Ray's pods reach one another; the operator asks the dashboard how a job is; Prometheus reads numbers.
    rules = [
        {"from": [{"podSelector": {}}]},
        {"from": [_namespace_named("kuberay-system")], "ports": _ports(8265)},
        {"from": [_namespace_named("monitoring")], "ports": _ports(8080, 44217, 44227)},
    ]
    return {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": rules}


def no_metadata(pods: dict[str, str]) -> dict[str, Any]:
    """Render the rules for pods of users' code: anywhere but to the cloud's metadata, which has the node's credentials.

    Args:
        pods: labels of the pods; empty for all of the namespace.
    """
    blocks = {"0.0.0.0/0": "169.254.169.254/32", "::/0": "fd00:ec2::254/128"}
    outside = [{"ipBlock": {"cidr": cidr, "except": [metadata]}} for cidr, metadata in blocks.items()]
    return {
        "podSelector": {"matchLabels": pods} if pods else {},
        "policyTypes": ["Egress"],
        # All pods by name, DNS and the head among them: some network plugins do not count pods to an address block.
        "egress": [{"to": [{"namespaceSelector": {}}]}, {"to": outside}],
    }


def _ports(*ports: int) -> list[dict[str, Any]]:
    return [{"protocol": "TCP", "port": port} for port in ports]


def _namespace_named(name: str) -> dict[str, Any]:
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}


def _control_plane() -> dict[str, Any]:
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": TEAM_ROLE}
    subject = {"kind": "ServiceAccount", "name": SERVICE_ACCOUNT, "namespace": NAMESPACE}
    return {"roleRef": role, "subjects": [subject]}
