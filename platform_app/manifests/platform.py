"""What the platform's own hand-written manifests take from the catalog: patches that kustomize applies to them."""

from typing import Any

from platform_app.manifests.names import NAMESPACE, SHARED_STORAGE, STORAGE_CLAIM, STORAGE_CLASS, labels, off_spot
from platform_app.manifests.teams import no_metadata, storage_claim, team_namespace
from platform_app.manifests.workers import worker_group
from platform_app.specs import Catalog

ENVIRONMENT = "ray-environment"
"""ConfigMap of `ray_environment`; kustomize adds a hash of its content to the name."""


def ray_service_patch(catalog: Catalog) -> list[dict[str, Any]]:
    """Render the JSON patch that gives the RayService its worker groups.

    A strategic patch would replace the list whole, since a custom resource has no merge keys.
    """
    groups = [worker_group(group, catalog, ENVIRONMENT) for group in catalog.worker_groups]
    cluster = "/spec/rayClusterConfig"
    return [
        {"op": "add", "path": f"{cluster}/workerGroupSpecs", "value": groups},
        {"op": "add", "path": f"{cluster}/headGroupSpec/template/spec/affinity", "value": off_spot()},
    ]


def image_replacements(catalog: Catalog) -> list[dict[str, Any]]:
    """Render kustomize's replacements that tell the control plane, in its environment, of the cluster's own images.

    kustomize puts images where containers name them, and nowhere else.
    """
    template, cluster = "template.spec.containers", "spec.rayClusterConfig"
    head = f"{cluster}.headGroupSpec.{template}.[name=ray-head]"
    sources = {"SLIPWAY_RAY_IMAGE": f"{head}.image"}
    if gpu_groups := [group.name for group in catalog.worker_groups if group.gpus]:
        group = f"{cluster}.workerGroupSpecs.[groupName={gpu_groups[0]}]"
        sources["SLIPWAY_RAY_CUDA_IMAGE"] = f"{group}.{template}.[name=ray-worker].image"
    service = {"kind": "RayService", "name": "slipway"}
    return [
        {
            "source": {**service, "fieldPath": path},
            "targets": [{"select": service, "fieldPaths": [f"{head}.env.[name={variable}].value"]}],
        }
        for variable, path in sources.items()
    ]


def off_spot_patch() -> list[dict[str, Any]]:
    """Render the JSON patch that keeps the platform's Deployments and StatefulSets off spot nodes."""
    return [{"op": "add", "path": "/spec/template/spec/affinity", "value": off_spot()}]


def platform_claim() -> list[dict[str, Any]]:
    """Render the platform's own claim of the shared filesystem."""
    metadata = {"name": STORAGE_CLAIM, "labels": labels("slipway", "storage")}
    return [{"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": storage_claim()}]


def platform_egress() -> list[dict[str, Any]]:
    """Render the policy that keeps the platform's workers, where users' code runs, from the nodes' credentials."""
    return [
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": "no-metadata", "labels": labels("slipway", "network")},
            "spec": no_metadata({"ray.io/node-type": "worker"}),
        }
    ]


def single_node_volumes(catalog: Catalog) -> list[dict[str, Any]]:
    """Render volumes of one folder of the node, one for each namespace's claim: for clusters without a file server."""
    namespaces = [NAMESPACE, *(team_namespace(team.name) for team in catalog.teams)]
    return [
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": f"slipway-{namespace}", "labels": labels("slipway", "storage")},
            "spec": {
                "capacity": {"storage": "100Gi"},
                "accessModes": ["ReadWriteMany"],
                "persistentVolumeReclaimPolicy": "Retain",
                "storageClassName": STORAGE_CLASS,
                "claimRef": {"namespace": namespace, "name": STORAGE_CLAIM},
                "hostPath": {"path": f"/var/local{SHARED_STORAGE}", "type": "DirectoryOrCreate"},
            },
        }
        for namespace in namespaces
    ]
