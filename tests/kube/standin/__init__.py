"""A Kubernetes cluster without containers: see `cluster`."""

from tests.kube.standin.api.errors import ApiError
from tests.kube.standin.api_cluster import KubeCluster
from tests.kube.standin.cluster import RunningCluster, kube_api, kube_cluster
from tests.kube.standin.kubelet.pools import DEFAULT_POOLS, ON_DEMAND_GPU, SPOT_GPU, SYSTEM, Pool

__all__ = [
    "DEFAULT_POOLS",
    "ON_DEMAND_GPU",
    "SPOT_GPU",
    "SYSTEM",
    "ApiError",
    "KubeCluster",
    "Pool",
    "RunningCluster",
    "kube_api",
    "kube_cluster",
]
