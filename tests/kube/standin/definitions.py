"""The CustomResourceDefinitions that a cluster of ours has installed, without their schemas: names and versions."""

from collections.abc import Iterator
from typing import Any

_INSTALLED = {
    "ray.io v1 v1alpha1": "RayCluster:rayclusters RayJob:rayjobs RayService:rayservices",
    "ray.io v1": "RayCronJob:raycronjobs",
    "kueue.x-k8s.io v1beta2 v1beta1": "LocalQueue:localqueues Workload:workloads",
    "kueue.x-k8s.io v1beta2 v1beta1 cluster": (
        "ClusterQueue:clusterqueues ResourceFlavor:resourceflavors WorkloadPriorityClass:workloadpriorityclasses"
        " Cohort:cohorts AdmissionCheck:admissionchecks Topology:topologies"
    ),
    "karpenter.sh v1 cluster": "NodePool:nodepools NodeClaim:nodeclaims",
    "karpenter.k8s.aws v1 cluster": "EC2NodeClass:ec2nodeclasses",
    "monitoring.coreos.com v1": "PodMonitor:podmonitors ServiceMonitor:servicemonitors PrometheusRule:prometheusrules",
}
"""Group, served versions with the stored one first, and `cluster` where there are no namespaces; kinds and plurals."""


def installed(groups: tuple[str, ...] | None = None) -> Iterator[dict[str, Any]]:
    """Give the definitions, of some groups or of all."""
    for header, names in _INSTALLED.items():
        group, *rest = header.split()
        versions = [word for word in rest if word != "cluster"]
        if groups is not None and group not in groups:
            continue
        for entry in names.split():
            kind, plural = entry.split(":")
            yield definition(group, kind, plural, versions, namespaced="cluster" not in rest)


def definition(group: str, kind: str, plural: str, versions: list[str], *, namespaced: bool = True) -> dict[str, Any]:
    """Make one definition; its first version is the one that is stored."""
    any_object = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "names": {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": f"{kind}List"},
            "scope": "Namespaced" if namespaced else "Cluster",
            "versions": [
                {
                    "name": version,
                    "served": True,
                    "storage": version == versions[0],
                    "subresources": {"status": {}},
                    "schema": any_object,
                }
                for version in versions
            ],
        },
        "status": {
            "storedVersions": versions[:1],
            "conditions": [{"type": "Established", "status": "True", "reason": "InitialNamesAccepted"}],
        },
    }
