"""Names that the rendered objects and the hand-written manifests share, and how clouds mark their spot nodes."""

from typing import Any

from platform_app.specs import Catalog, WorkerGroup

NAMESPACE = "slipway"
"""Where the platform itself runs."""

SERVICE_ACCOUNT = "slipway"
"""Of the Ray head: the control plane's."""

PLATFORM_CLASS = "slipway-platform"
"""PriorityClass of the platform's own services."""

POOL_LABEL = "slipway/pool"
"""Node label whose value is a worker group's name. It is ours on purpose: a pod that selects GPU feature discovery's
`nvidia.com/gpu.product` waits for ever on a cold pool, for no node has that label before it runs
(UKGovernmentBEIS/inspect_evals#2117)."""

GPU_TAINT = "nvidia.com/gpu"
"""Taint of GPU nodes: GKE sets it by itself, elsewhere the node pool must."""

SPOT_TAINT = "spot"
"""Taint of spot nodes where we make the node pool."""

SPOT_LABELS = {
    "eks.amazonaws.com/capacityType": "SPOT",
    "karpenter.sh/capacity-type": "spot",
    "cloud.google.com/gke-spot": "true",
    "kubernetes.azure.com/scalesetpriority": "spot",
}
"""By which label EKS, Karpenter, GKE and AKS mark a spot node; AKS taints it with the same key, others may."""

SHARED_STORAGE = "/mnt/slipway"
"""Where pods have the shared filesystem."""

STORAGE_CLAIM = "slipway-storage"
"""PersistentVolumeClaim of the shared filesystem, in each namespace."""

STORAGE_CLASS = "slipway-shared"
"""StorageClass of which all claims show the same files; the overlay's storage component makes it."""

TRACKING_URI = f"http://mlflow.{NAMESPACE}.svc:5000"
"""MLflow, from any namespace."""

RAY_VERSION = "2.60.0"
"""Must be the image's: the operator decides by it what the pods get."""

USER, GROUP = 1000, 100
"""The user and group of Ray's images (`ray-project/ray:docker/base-deps/Dockerfile`)."""


def labels(name: str, component: str) -> dict[str, str]:
    """Give the labels that Kubernetes recommends."""
    return {
        "app.kubernetes.io/name": name,
        "app.kubernetes.io/component": component,
        "app.kubernetes.io/part-of": "slipway",
    }


def tier_of(group: WorkerGroup, catalog: Catalog) -> str:
    """Name the PriorityClass of a group's pods: the group's tier, else the lowest."""
    return group.tier or min(catalog.tiers, key=lambda tier: tier.priority).name


def gpu_resources(catalog: Catalog) -> tuple[str, ...]:
    """Name the GPU resources that pods of this catalog ask for, in its order."""
    return tuple(dict.fromkeys(group.gpu_resource for group in catalog.worker_groups if group.gpus))


def memory(gib: float) -> str:
    """Write an amount of memory as Kubernetes does."""
    return f"{int(gib * 1024)}Mi"


def off_spot() -> dict[str, Any]:
    """Give the affinity of pods that must not go with a spot node: `NotIn` also holds where the label is absent."""
    terms = [{"key": key, "operator": "NotIn", "values": [value]} for key, value in SPOT_LABELS.items()]
    required = {"nodeSelectorTerms": [{"matchExpressions": terms}]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}
