"""What a right cluster has by the catalog: what `slipway doctor` compares a cluster with."""

from platform_app.domain.doctor import Wanted
from platform_app.manifests.names import GPU_TAINT, NAMESPACE, POOL_LABEL, RAY_VERSION, SPOT_LABELS, STORAGE_CLAIM
from platform_app.manifests.platform import ENVIRONMENT
from platform_app.manifests.teams import team_namespace, team_objects
from platform_app.manifests.tiers import priority_classes
from platform_app.manifests.workers import worker_group
from platform_app.specs import Catalog


def wanted(catalog: Catalog, namespace: str = NAMESPACE) -> Wanted:
    """Render what a cluster should have.

    Args:
        catalog: worker groups, tiers and teams.
        namespace: where the platform runs.
    """
    return Wanted(
        catalog=catalog,
        namespace=namespace,
        ray_version=RAY_VERSION,
        worker_groups={group.name: worker_group(group, catalog, ENVIRONMENT) for group in catalog.worker_groups},
        priority_classes=tuple(priority_classes(catalog)),
        teams={team_namespace(team.name): tuple(team_objects(team, catalog)) for team in catalog.teams},
        storage_claim=STORAGE_CLAIM,
        pool_label=POOL_LABEL,
        gpu_taint=GPU_TAINT,
        spot_labels=SPOT_LABELS,
    )
