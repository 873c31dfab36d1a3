"""What workers each elastic run should have, and of which groups.

It is a function of what runs, what waits, the quotas and the catalog, and of what each run has now only the first of
it, its min. So two runs that resize side by side come to rest at once: the same jobs always give the same, and no run
waits for another to make room that it was promised.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from platform_app.domain import quota
from platform_app.domain.capacity import (
    Demand,
    Placement,
    Share,
    add,
    at_least,
    demand,
    exactly,
    is_elastic,
    place,
    size,
    trimmed,
)
from platform_app.domain.holdings import NO_QUOTA, Taken, by_admission, holdings, priority
from platform_app.domain.job import Job
from platform_app.domain.order import in_order
from platform_app.specs import Catalog, Quota


def grants(
    active: Sequence[Job],
    queue: Iterable[Job],
    catalog: Catalog,
    used_yet: Mapping[str, int] | None = None,
    quotas: Mapping[str, Quota] | None = None,
    served: Placement = (),
) -> Mapping[str, Placement]:
    """Give the workers of each elastic run, by job id: never fewer than its min nor more than its max.

    Every run has its min of what it holds. What is left goes tier by tier: first to jobs of the tier that wait and
    would fit, then to its runs, one worker in turn, the oldest first; all within the teams' quotas. Then the same
    again of what is left, for teams that may borrow.

    Args:
        active: jobs that hold capacity.
        queue: jobs that wait.
        catalog: what there is.
        used_yet: training workers that sweeps may use yet, by job id, as far as it is known; it never grows.
        quotas: of the teams that have one.
        served: what models that are served hold.
    """
    rounds = _Rounds(catalog, quotas or {}, served)
    running, waiting = by_admission(active), in_order(queue, catalog)
    by_id = {job.id: job for job in running}
    for job_id, held in holdings(running, catalog, used_yet or {}, served).items():
        rounds.begin(by_id[job_id], held)
    tiers = sorted({priority(job, catalog) for job in (*running, *waiting)}, reverse=True)
    for borrows in (False, True):
        for tier in tiers:
            waiting = [job for job in waiting if priority(job, catalog) != tier or not rounds.keep(job, borrows)]
            growing = [job for job in running if is_elastic(job.spec) and priority(job, catalog) == tier]
            while growing:
                growing = [job for job in growing if rounds.grow(job, borrows)]
    return rounds.placements


def parted(held: Placement, wanted: Placement) -> tuple[Placement, Placement]:
    """Part what an elastic run holds into what it keeps, of each group no more than it should have, and the rest.

    Its min is the first of what it holds, and is kept always (`grants`).
    """
    keeps, rest, of_group = list[Share](), list[Share](), dict[str, int]()
    for share in wanted:
        of_group[share.group] = of_group.get(share.group, 0) + share.training_workers
    for share in held:
        number = min(share.training_workers, of_group.get(share.group, 0))
        of_group[share.group] = of_group.get(share.group, 0) - number
        keeps += trimmed((share,), number)
        if over := share.training_workers - number:
            rest += trimmed((share,), over)
    return tuple(keeps), tuple(rest)


def enlarged(job: Job, held: Placement, wanted: Placement, taken: Taken, its: Quota) -> Placement:
    """Give what an elastic run holds with as many as there is room for of the workers that it lacks.

    Args:
        job: the run.
        held: what it holds.
        wanted: what it should have.
        taken: what is taken now, by it too.
        its: its team's quota.
    """
    lacking, room = parted(wanted, held)[1], dict[str, float]()
    add(lacking, room)
    used = taken.workers.get(job.place, {})
    elsewhere = {
        group.name: max(used.get(group.name, 0.0), group.max_workers - room.get(group.name, 0.0))
        for group in taken.catalog.worker_groups
    }
    left = {} if its.borrow else quota.remaining(quota.limits(its), taken.by_team(job.team))
    left.pop(quota.JOBS, None)
    missing = replace(exactly(demand(job.spec), size(lacking)), at_least=1)
    return (*held, *(place(missing, taken.catalog, elsewhere, left) or ()))


class _Rounds:
    """What has been given away so far."""

    def __init__(self, catalog: Catalog, quotas: Mapping[str, Quota], served: Placement) -> None:
        self._catalog = catalog
        self._quotas = quotas
        self._taken = Taken.beside(served, catalog)
        self.placements: dict[str, Placement] = {}

    def begin(self, job: Job, held: Placement) -> None:
        """Give a running job what it cannot do without, of what it holds."""
        if is_elastic(job.spec):
            held = self.placements[job.id] = trimmed(held, demand(job.spec).at_least)
        self._taken.add(job, held)

    def keep(self, job: Job, borrows: bool) -> bool:
        """Keep room for a job that waits; False where there is none."""
        return bool(self._give(job, at_least(demand(job.spec)), borrows))

    def grow(self, job: Job, borrows: bool) -> bool:
        """Give an elastic run one worker more; False where it has enough, or there is none."""
        need, has = demand(job.spec), self.placements[job.id]
        if size(has) >= need.at_most or not (one := self._give(job, exactly(need, 1), borrows, is_there=True)):
            return False
        self.placements[job.id] = (*has, *one)
        return True

    def _give(self, job: Job, need: Demand, borrows: bool, is_there: bool = False) -> Placement:
        its = self._quotas.get(job.team, NO_QUOTA)
        if borrows and not its.borrow:
            return ()
        left = quota.remaining({} if borrows else quota.limits(its), self._taken.by_team(job.team))
        if is_there:
            left.pop(quota.JOBS, None)
        placement = place(need, self._catalog, self._taken.workers.get(job.place, {}), left) or ()
        self._taken.add(job, placement)
        return placement
