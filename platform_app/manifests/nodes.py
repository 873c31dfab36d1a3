"""Worker groups of the catalog as Karpenter's NodePools on AWS: one pool for each, whose nodes take its pods alone."""

from typing import Any

from platform_app.manifests.names import GPU_TAINT, POOL_LABEL, SPOT_TAINT, labels
from platform_app.specs import Catalog, Market, WorkerGroup

NODE_CLASS = "slipway"
"""EC2NodeClass of all pools, written by hand."""

CONSOLIDATE_AFTER = "1m"
"""How long an empty node stays. An idle worker's minute before it, the machine goes 2 minutes after the last work;
production adds to it."""


def node_pools(catalog: Catalog) -> list[dict[str, Any]]:
    """Render a NodePool for each worker group."""
    return [_node_pool(group) for group in catalog.worker_groups]


def _node_pool(group: WorkerGroup) -> dict[str, Any]:
    return {
        "apiVersion": "karpenter.sh/v1",
        "kind": "NodePool",
        "metadata": {"name": group.name, "labels": labels("slipway", "workers")},
        "spec": {
            "limits": _limits(group),
            "disruption": {
                # The default, WhenEmptyOrUnderutilized after 0 seconds, evicts running training.
                "consolidationPolicy": "WhenEmpty",
                "consolidateAfter": CONSOLIDATE_AFTER,
                "budgets": [
                    {"nodes": "100%", "reasons": ["Empty"]},
                    {"nodes": "0", "reasons": ["Drifted", "Underutilized"]},
                ],
            },
            "template": {"metadata": {"labels": {POOL_LABEL: group.name}}, "spec": _node(group)},
        },
    }


def _limits(group: WorkerGroup) -> dict[str, str]:
    # Karpenter knows whole GPUs of instance types and nothing of shares and slices, so it is held by GPUs where
    # they are whole, and by CPUs (twice what the workers ask: machines come in sizes) everywhere.
    whole = {"nvidia.com/gpu": str(group.gpus * group.max_workers)} if group.gpu_resource == "nvidia.com/gpu" else {}
    return {"cpu": str(2 * group.cpus * group.max_workers), **(whole if group.gpus else {})}


def _node(group: WorkerGroup) -> dict[str, Any]:
    node: dict[str, Any] = {
        # Expiry is forceful, and no budget holds it back: it would cut a long training off.
        "expireAfter": "Never",
        "terminationGracePeriod": "1h",
        "nodeClassRef": {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": NODE_CLASS},
        "requirements": _requirements(group),
    }
    if taints := _taints(group):
        node["taints"] = [{"key": key, "value": "true", "effect": "NoSchedule"} for key in taints]
    return node


def _requirements(group: WorkerGroup) -> list[dict[str, Any]]:
    wanted = {"karpenter.sh/capacity-type": str(group.market), "kubernetes.io/arch": "amd64"}
    if group.gpus and group.accelerator_type:
        # AWS writes Ray's accelerator types small, and without the memory of `A100-80G`.
        wanted["karpenter.k8s.aws/instance-gpu-name"] = group.accelerator_type.partition("-")[0].lower()
    requirements: list[dict[str, Any]] = [
        {"key": key, "operator": "In", "values": [value]} for key, value in wanted.items()
    ]
    if not group.gpus:
        requirements.append({"key": "karpenter.k8s.aws/instance-category", "operator": "In", "values": ["c", "m", "r"]})
    return requirements


def _taints(group: WorkerGroup) -> tuple[str, ...]:
    gpu = (GPU_TAINT,) if group.gpus else ()
    return gpu + ((SPOT_TAINT,) if group.market is Market.SPOT else ())
