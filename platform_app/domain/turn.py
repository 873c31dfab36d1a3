"""A job's turn: what stands between it and its start in the platform's own queue, and how long that may take.

Functions of the queue, of what runs and of the catalog, as `platform_app.domain.admission` is.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from platform_app.domain.capacity import (
    Placement,
    add,
    demand,
    eligible,
    exactly,
    impossible,
    is_elastic,
    place,
    slots_per_worker,
)
from platform_app.domain.explain import Sign, Source
from platform_app.domain.holdings import by_admission, occupying
from platform_app.domain.job import Job
from platform_app.domain.order import in_order
from platform_app.specs import Catalog

_NAMED = 3
"""Jobs that a sentence names."""


@dataclass(frozen=True)
class Wait:
    """How long something may take from now on."""

    at_least_seconds: float
    at_most_seconds: float | None
    """None where nobody can know."""


@dataclass(frozen=True)
class Room:
    """Who holds what, and who stands in line."""

    queue: Sequence[Job]
    held: Sequence[Job]
    catalog: Catalog
    sizes: Mapping[str, int]
    """As `platform_app.domain.admission.decide` takes them."""
    sees: Callable[[str], bool] = lambda _team: True
    """Whether who asks may know the jobs of a team by their names."""

    def name(self, job: Job) -> str:
        """Name a job for who asks."""
        return job.id if self.sees(job.team) else f"a job of team {job.team}"

    def holdings(self, shrunk: bool = False) -> dict[str, Placement]:
        """Give what each job that holds capacity holds, by job id; `shrunk`: were elastic runs at their fewest."""
        used: dict[str, float] = {}
        found: dict[str, Placement] = {}
        for job in by_admission(self.held):
            need = occupying(job, self.sizes.get(job.id, 0))
            if shrunk and is_elastic(job.spec):
                need = exactly(need, job.spec.resources.min_workers)
            found[job.id] = place(need, self.catalog, used) or ()
            add(found[job.id], used)
        return found

    def used(self, without: frozenset[str] = frozenset(), shrunk: bool = False) -> dict[str, float]:
        """Count the cluster workers of each group that are taken, but for those of some jobs."""
        used: dict[str, float] = {}
        for job_id, placement in self.holdings(shrunk).items():
            if job_id not in without:
                add(placement, used)
        return used

    def ahead(self, job: Job) -> list[Job]:
        """Give the jobs that are served before one."""
        order = in_order([*(one for one in self.queue if one.id != job.id), job], self.catalog)
        return order[: order.index(job)]


def turn_signs(job: Job, room: Room) -> tuple[Sign, ...]:
    """Say what keeps a queued job from starting, as signs of the queue."""
    tiers = {tier.name for tier in room.catalog.tiers}
    if job.spec.tier not in tiers:
        return (_sign("NoTier", f"the catalog has no tier {job.spec.tier!r} any more"),)
    if problems := impossible(job.spec, room.catalog):
        return (_sign("NeverFits", "; ".join(f"{one.field}: {one.message}" for one in problems)),)
    ahead = room.ahead(job)
    used = room.used()
    fits_alone = place(demand(job.spec), room.catalog, used) is not None
    for one in ahead:
        add(place(demand(one.spec), room.catalog, used) or (), used)
    line = f"it is number {len(ahead) + 1} of {max(len(room.queue), len(ahead) + 1)} in the queue"
    if ahead:
        line += f", behind {_names(map(room.name, ahead))}"
    if place(demand(job.spec), room.catalog, used) is not None:
        return (_sign("Next", "there is room for it: it is started with the next pass over the queue"),)
    shrunk = room.used(shrunk=True)
    for one in ahead:
        add(place(demand(one.spec), room.catalog, shrunk) or (), shrunk)
    if place(demand(job.spec), room.catalog, shrunk) is not None:
        return (_sign("MakingRoom", "elastic runs give up workers for it"), _sign("Position", line))
    if not fits_alone:
        need = demand(job.spec).at_least
        taken = _taken(job, room)
        return (_sign("Full", f"it needs {need} free worker(s) at once: {taken}"), _sign("Position", line))
    return (_sign("Behind", f"{line}, and there is not room for all of them"),)


def wait_for_room(job: Job, room: Room, remaining: Mapping[str, float]) -> Wait | None:
    """Say how long a queued job may wait for room: None where nothing at all can be known.

    At least: until it would fit if those ahead of it took nothing, with each running job done in half the time that
    its pace says. At most: until it fits though all ahead of it have started, with twice that time.

    Args:
        job: queued.
        room: who holds what.
        remaining: seconds that running jobs still take at their pace, by job id, as far as that is known.
    """
    need, gone = demand(job.spec), frozenset[str]()
    ending = sorted((seconds, job_id) for job_id, seconds in remaining.items())
    earliest = 0.0 if place(need, room.catalog, room.used()) is not None else None
    latest = None
    for seconds, job_id in ending:
        gone = gone | {job_id}
        used = room.used(gone)
        if earliest is None and place(need, room.catalog, used) is not None:
            earliest = seconds / 2
        for one in room.ahead(job):
            add(place(demand(one.spec), room.catalog, used) or (), used)
        if place(need, room.catalog, used) is not None:
            latest = seconds * 2
            break
    return None if earliest is None else Wait(earliest, latest)


def _taken(job: Job, room: Room) -> str:
    """Say of each group that would do who holds its workers."""
    holdings, parts, known = room.holdings(), [], {one.id: one for one in room.held}
    for group in eligible(room.catalog, job.spec.resources):
        holders = [
            (room.name(known[job_id]), share.cluster_workers)
            for job_id, placement in holdings.items()
            for share in placement
            if share.group == group.name
        ]
        total = sum(workers for _, workers in holders)
        by = f" by {_names(f'{name} ({workers:g})' for name, workers in holders)}" if holders else ""
        parts.append(f"{total:g} of {group.max_workers} of {group.name} are taken{by}")
    each = max(slots_per_worker(group, job.spec.resources) for group in eligible(room.catalog, job.spec.resources))
    return "; ".join(parts) + (f" ({each} of its training workers fit on one)" if each > 1 else "")


def _names(names: Iterable[str]) -> str:
    known = [*names]
    return ", ".join(known[:_NAMED]) + (f" and {len(known) - _NAMED} more" if len(known) > _NAMED else "")


def _sign(reason: str, message: str) -> Sign:
    return Sign(Source.ADMISSION, reason, message, "the queue")
