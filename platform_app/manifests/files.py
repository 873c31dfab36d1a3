"""Which file under `k8s/` holds what of the catalog, as text."""

from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from platform_app.launch import INGRESS_ENV
from platform_app.manifests.kueue import kueue_objects
from platform_app.manifests.nodes import node_pools
from platform_app.manifests.platform import (
    image_replacements,
    off_spot_patch,
    platform_claim,
    platform_egress,
    ray_service_patch,
    single_node_volumes,
)
from platform_app.manifests.teams import team_objects
from platform_app.manifests.tiers import priority_classes
from platform_app.manifests.workers import ray_environment
from platform_app.specs import Catalog

_HEADER = "# Rendered from the catalog by `make manifests`: edit platform_app/catalog.yaml instead.\n"


def rendered_files(catalog: Catalog, source: str) -> dict[str, str]:
    """Render every file that depends on the catalog.

    Args:
        catalog: what was read.
        source: its text, which the control plane reads again in the cluster: worker groups and admission then go by
            the same file, whatever catalog the image was built with.

    Returns:
        Text of each file, by its path below `k8s/`.
    """
    return {
        "bootstrap/priority-classes.yaml": _yaml(priority_classes(catalog)),
        "bootstrap/karpenter/base/node-pools.yaml": _yaml(node_pools(catalog)),
        "base/platform/rendered/catalog.yaml": _HEADER + source,
        "base/platform/rendered/ray.env": _variables(ray_environment(catalog)),
        "base/platform/rendered/claim.yaml": _yaml(platform_claim()),
        "base/platform/rendered/egress.yaml": _yaml(platform_egress()),
        "base/platform/rendered/worker-groups.yaml": _yaml([ray_service_patch(catalog)]),
        "base/platform/rendered/off-spot.yaml": _yaml([off_spot_patch()]),
        "base/teams/teams.yaml": _yaml(found for team in catalog.teams for found in team_objects(team, catalog)),
        "components/gcs-fault-tolerance/off-spot.yaml": _yaml([off_spot_patch()]),
        "components/haproxy/ingress.env": _variables(INGRESS_ENV),
        "components/images/replacements.yaml": _yaml([image_replacements(catalog)]),
        "components/kueue/queues.yaml": _yaml(kueue_objects(catalog)),
        "components/storage-single-node/volumes.yaml": _yaml(single_node_volumes(catalog)),
    }


def _variables(environment: Mapping[str, str]) -> str:
    return _HEADER + "".join(f"{name}={value}\n" for name, value in environment.items())


class _Plain(yaml.SafeDumper):
    """Writes what occurs twice twice."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 PyYAML's interface
        """Say that nothing is written as a reference."""
        return True


def _yaml(documents: Iterable[Any]) -> str:
    text = yaml.dump_all(documents, Dumper=_Plain, sort_keys=False, width=110, explicit_start=True)
    return _HEADER + text
