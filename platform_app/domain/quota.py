"""What a quota counts. A *meter* is one thing that it bounds: `GPUs A10G/spot`, `GPUs *`, `CPUs` or `jobs`."""

import math
from collections.abc import Mapping, MutableMapping

from platform_app.specs import Quota, WorkerGroup, WorkerResources

Amounts = Mapping[str, float]
"""How much by meter."""

CPUS, JOBS = "CPUs", "jobs"
EPSILON = 1e-9
"""Three shares of 1/3 GPU are one GPU, whatever floating point says."""


def limits(quota: Quota) -> dict[str, float]:
    """Give the bounds that a quota sets; meters that it does not name have none."""
    found = {f"GPUs {kind}": bound for kind, bound in quota.gpus.items()}
    found |= {} if quota.cpus is None else {CPUS: quota.cpus}
    return found | ({} if quota.jobs is None else {JOBS: quota.jobs})


def of_worker(group: WorkerGroup, per_worker: WorkerResources) -> dict[str, float]:
    """Say what one training worker on a group is charged with: the GPUs and CPUs that it asks for."""
    kinds = ["*"]
    if group.accelerator_type:
        kinds += [group.accelerator_type, f"{group.accelerator_type}/{group.market}"]
    gpus = {f"GPUs {kind}": per_worker.gpus_per_worker for kind in kinds} if per_worker.gpus_per_worker else {}
    return gpus | {CPUS: per_worker.cpus_per_worker}


def workers_within(left: Amounts, each: Amounts) -> float:
    """Say how many workers, charged so much each, fit into what is left; infinity where nothing bounds them."""
    bounded = (max(0.0, left[meter]) / amount for meter, amount in each.items() if meter in left)
    return min(bounded, default=math.inf) + EPSILON


def less(left: Amounts, each: Amounts, times: float) -> Amounts:
    """Give what is left when so many times as much is taken; what was not bounded is not."""
    return {meter: free - each.get(meter, 0.0) * times for meter, free in left.items()}


def spend(amounts: MutableMapping[str, float], each: Amounts, times: float) -> None:
    """Add so many times as much, in place; negative times take it away."""
    for meter, amount in each.items():
        amounts[meter] = amounts.get(meter, 0.0) + amount * times


def remaining(bounds: Amounts, used: Amounts) -> dict[str, float]:
    """Give what is left of each bound; less than nothing where more is used."""
    return {meter: bound - used.get(meter, 0.0) for meter, bound in bounds.items()}


def shortfall(bounds: Amounts, used: Amounts, asked: Amounts) -> str:
    """Say which bounds what is asked does not fit in, with the numbers; empty where it does."""
    parts = [
        f"{meter}: asks for {asked.get(meter, 0.0):g}, {used.get(meter, 0.0):g} of {bound:g} used"
        for meter, bound in bounds.items()
        if asked.get(meter, 0.0) + used.get(meter, 0.0) > bound + EPSILON
    ]
    return "; ".join(parts)
