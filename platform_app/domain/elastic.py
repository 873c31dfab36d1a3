"""How many workers each elastic run should have. A function of what runs, what waits and the catalog alone.

It does not depend on how many each has now, so two runs that resize side by side come to rest at once: the same jobs
always give the same sizes, and no run waits for another to make room that it was promised.
"""

from collections.abc import Iterable, Mapping, Sequence

from platform_app.domain.admission import by_admission, charge, in_order
from platform_app.domain.capacity import add, demand, exactly, is_elastic, place
from platform_app.domain.job import Job
from platform_app.specs import Catalog


def grants(
    active: Sequence[Job], queue: Iterable[Job], catalog: Catalog, used_yet: Mapping[str, int] | None = None
) -> Mapping[str, int]:
    """Give the number of workers for each elastic run, by job id: never fewer than its min nor more than its max.

    Every run has its min. What is left goes tier by tier: first to jobs of the tier that wait and would fit, then to
    its runs, one worker in turn, the oldest first.

    Args:
        active: jobs that hold capacity.
        queue: jobs that wait.
        catalog: what there is.
        used_yet: training workers that sweeps may use yet, by job id, as far as it is known; it never grows.
    """
    running, waiting = by_admission(active), in_order(queue, catalog)
    used: dict[str, float] = {}
    sizes: dict[str, int] = {}
    for job in running:
        if is_elastic(job.spec):
            need = demand(job.spec)
            sizes[job.id] = need.at_least
            need = exactly(need, need.at_least)
        else:
            need = charge(job, (used_yet or {}).get(job.id, 0))
        add(place(need, catalog, used) or (), used)
    for tier in sorted(catalog.tiers, key=lambda tier: -tier.priority):
        for job in (job for job in waiting if job.spec.tier == tier.name):
            need = demand(job.spec)
            add(place(exactly(need, need.at_least), catalog, used) or (), used)
        growing = [job for job in running if job.id in sizes and job.spec.tier == tier.name]
        while growing:
            growing = [job for job in growing if _grow(job, sizes, catalog, used)]
    return sizes


def _grow(job: Job, sizes: dict[str, int], catalog: Catalog, used: dict[str, float]) -> bool:
    need = demand(job.spec)
    one = place(exactly(need, 1), catalog, used) if sizes[job.id] < need.at_most else None
    if one is None:
        return False
    add(one, used)
    sizes[job.id] += 1
    return True
