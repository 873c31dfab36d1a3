"""What models that are served hold of the shared cluster: workers that no job is given, and that none is made free of.

Ray places the replicas, not admission. So what admission does is to leave room: a deployment holds the workers of the
replicas that it always has, those of a candidate too, from the moment that it is wanted. Where jobs have them, it has
the first that come free, and elastic runs shrink for it. Replicas that Serve adds for a while take what is idle then.
"""

import math
from collections.abc import Iterable

from platform_app.domain.capacity import Demand, Placement, add, place
from platform_app.domain.deployment import Deployment
from platform_app.specs import Catalog, MarketPolicy, WorkerResources


def served(deployments: Iterable[Deployment], catalog: Catalog) -> dict[str, Placement]:
    """Say what each deployment holds, by name: workers that nobody takes back, those preferred first."""
    used: dict[str, float] = {}
    found: dict[str, Placement] = {}
    for one in sorted(deployments, key=lambda one: (one.created_at, one.name)):
        gpus = one.spec.gpus_per_replica
        each = WorkerResources(
            # Ray gives a replica whole GPUs or part of one; what asks otherwise is Serve's to refuse.
            gpus_per_worker=gpus if gpus <= 1 else math.ceil(gpus),
            cpus_per_worker=one.spec.cpus_per_replica,
            market=MarketPolicy.ON_DEMAND,
        )
        found[one.name] = place(Demand(each, at_least=1, at_most=_replicas(one)), catalog, used) or ()
        add(found[one.name], used)
    return found


def _replicas(deployment: Deployment) -> int:
    """Count the replicas that it always has; a candidate never goes to zero (`serve.app`)."""
    fewest = deployment.spec.min_replicas
    return fewest + max(1, fewest) if deployment.active_rollout else fewest
