"""The catalog as Kueue's queues: a flavor for each worker group, a queue for each team, a priority for each tier."""

from typing import Any

from platform_app.manifests.names import GPU_TAINT, POOL_LABEL, SPOT_TAINT, gpu_resources, labels, memory
from platform_app.manifests.teams import team_namespace
from platform_app.specs import Catalog, Market, TeamNamespace, WorkerGroup

_API = "kueue.x-k8s.io/v1beta2"

LOCAL_QUEUE = "default"
"""Queue of each team's namespace: the value of a job's label `kueue.x-k8s.io/queue-name`."""


def kueue_objects(catalog: Catalog) -> list[dict[str, Any]]:
    """Render flavors, queues and priorities."""
    return [
        *(_flavor(group) for group in catalog.worker_groups),
        *(
            # It orders the queue only, as the PriorityClass of the same name orders the scheduler: equal numbers.
            {"apiVersion": _API, "kind": "WorkloadPriorityClass", **_metadata(tier.name), "value": tier.priority}
            for tier in catalog.tiers
        ),
        *(found for team in catalog.teams for found in (_cluster_queue(team, catalog), _local_queue(team))),
    ]


def _flavor(group: WorkerGroup) -> dict[str, Any]:
    spec: dict[str, Any] = {"nodeLabels": {POOL_LABEL: group.name}}
    taints = ((GPU_TAINT,) if group.gpus else ()) + ((SPOT_TAINT,) if group.market is Market.SPOT else ())
    if taints:
        # No tolerations of the flavor's own, which Kueue would add to each pod: a head, which asks for no group, would
        # be given the first flavor with room, a spot machine with a GPU. Worker groups tolerate what is theirs.
        spec["nodeTaints"] = [{"key": key, "value": "true", "effect": "NoSchedule"} for key in taints]
    return {"apiVersion": _API, "kind": "ResourceFlavor", **_metadata(group.name), "spec": spec}


def _cluster_queue(team: TeamNamespace, catalog: Catalog) -> dict[str, Any]:
    # Spot first: Kueue takes the first flavor that has room.
    groups = sorted(catalog.worker_groups, key=lambda group: -group.priority)
    spec = {
        "cohortName": "slipway",
        # Without a selector a queue takes no namespace at all.
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": team_namespace(team.name)}},
        "queueingStrategy": "BestEffortFIFO",
        # All of these default to Never.
        "preemption": {
            "withinClusterQueue": "LowerPriority",
            "reclaimWithinCohort": "Any",
            "borrowWithinCohort": {"policy": "Never"},
        },
        "resourceGroups": [
            {
                "coveredResources": ["cpu", "memory", *gpu_resources(catalog)],
                "flavors": [_quota(team, group, catalog) for group in groups],
            }
        ],
    }
    return {"apiVersion": _API, "kind": "ClusterQueue", **_metadata(team_namespace(team.name)), "spec": spec}


def _quota(team: TeamNamespace, group: WorkerGroup, catalog: Catalog) -> dict[str, Any]:
    # Every flavor must list every resource, in the order of `coveredResources`.
    gpus = {
        resource: min(team.max_gpus, group.gpus * group.max_workers) if resource == group.gpu_resource else 0
        for resource in gpu_resources(catalog)
    }
    quotas: dict[str, Any] = {"cpu": team.max_cpus, "memory": memory(team.max_memory_gib), **gpus}
    return {"name": group.name, "resources": [{"name": name, "nominalQuota": most} for name, most in quotas.items()]}


def _local_queue(team: TeamNamespace) -> dict[str, Any]:
    namespace = team_namespace(team.name)
    return {
        "apiVersion": _API,
        "kind": "LocalQueue",
        **_metadata(LOCAL_QUEUE, namespace),
        "spec": {"clusterQueue": namespace},
    }


def _metadata(name: str, namespace: str | None = None) -> dict[str, Any]:
    where = {"namespace": namespace} if namespace else {}
    return {"metadata": {"name": name, **where, "labels": labels("slipway", "queue")}}
