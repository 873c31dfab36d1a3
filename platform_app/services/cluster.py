"""The cluster: what the catalog allows, joined with what is there."""

from platform_app.domain.supply import NONE
from platform_app.ports import Cluster
from platform_app.specs import Catalog
from platform_app.views import ClusterView, WorkerGroupView

_FROM_CATALOG = set(WorkerGroupView.model_fields) - {"workers", "pending"}


def cluster_view(catalog: Catalog, cluster: Cluster) -> ClusterView:
    """Show each worker group with its workers and price, in the catalog's order."""
    counts = cluster.workers()
    groups = tuple(
        WorkerGroupView(
            **group.model_dump(include=_FROM_CATALOG),
            workers=counts.get(group.name, NONE).running,
            pending=counts.get(group.name, NONE).pending,
        )
        for group in catalog.worker_groups
    )
    return ClusterView(worker_groups=groups, price_per_hour=sum(one.workers * one.price_per_hour for one in groups))
