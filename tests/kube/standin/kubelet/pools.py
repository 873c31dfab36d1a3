"""Node pools: what kinds of nodes there may be, how many, and how long each takes to come."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.kube.standin.api.objects import now

CAPACITY_TYPE = "karpenter.sh/capacity-type"


@dataclass(frozen=True)
class Pool:
    """Nodes that are alike."""

    name: str
    allocatable: Mapping[str, str]
    """Quantities that pods can have of each node: `cpu`, `memory`, `nvidia.com/gpu`."""
    market: str = "on-demand"
    """`spot` or `on-demand`."""
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Mapping[str, str], ...] = ()
    static: int = 0
    """Nodes that are there from the start and stay."""
    most: int = 10
    """Nodes that there may be. Tests change what is in stock by `KubeCluster.stock`."""
    seconds_to_come: float = 1.0
    seconds_empty: float = 3.0
    """How long a node without pods is kept."""

    def node(self, name: str) -> dict[str, Any]:
        """Make a node of the pool."""
        own = {
            "kubernetes.io/hostname": name,
            "kubernetes.io/os": "linux",
            "karpenter.sh/nodepool": self.name,
            CAPACITY_TYPE: self.market,
            "node.kubernetes.io/instance-type": f"{self.name}.large",
        }
        taints = [{"effect": "NoSchedule", **taint} for taint in self.taints]
        ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "lastTransitionTime": now()}
        return {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "labels": {**own, **self.labels}},
            "spec": {"taints": taints, "providerID": f"standin:///{name}"},
            "status": {
                "allocatable": {"pods": "110", **self.allocatable},
                "capacity": {"pods": "110", **self.allocatable},
                "conditions": [ready],
                "nodeInfo": {"kubeletVersion": "v1.34.2", "osImage": "stand-in", "architecture": "amd64"},
            },
        }


SYSTEM = Pool("system", {"cpu": "64", "memory": "512Gi"}, static=1)
"""A node for heads and everything else that needs no GPU."""

SPOT_GPU = Pool(
    "gpu-spot",
    {"cpu": "16", "memory": "128Gi", "nvidia.com/gpu": "1"},
    market="spot",
    labels={"platform/pool": "gpu-spot"},
    taints=({"key": "nvidia.com/gpu", "value": "present"}, {"key": "spot", "value": "true"}),
)
ON_DEMAND_GPU = Pool(
    "gpu-ondemand",
    {"cpu": "16", "memory": "128Gi", "nvidia.com/gpu": "1"},
    labels={"platform/pool": "gpu-ondemand"},
    taints=({"key": "nvidia.com/gpu", "value": "present"},),
)

DEFAULT_POOLS = (SYSTEM, SPOT_GPU, ON_DEMAND_GPU)
