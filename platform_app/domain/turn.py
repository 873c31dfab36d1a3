"""A job's turn: what stands between it and its start in the platform's own queue, and how long that may take.

Functions of the queue, of what runs and of the catalog, as `platform_app.domain.admission` is.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from platform_app.domain.admission import Decision, Verdict, decide
from platform_app.domain.capacity import Placement, add, demand, eligible, impossible, place, slots_per_worker
from platform_app.domain.explain import Sign, Source
from platform_app.domain.holdings import SHARED, Taken, holdings
from platform_app.domain.job import Job
from platform_app.domain.order import Standing
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
    """Who holds what, who stands in line, and who asks."""

    queue: Sequence[Job]
    """Jobs that wait, of any place."""
    held: Sequence[Job]
    """Jobs that hold capacity, of any place."""
    catalog: Catalog
    sizes: Mapping[str, int]
    """As `platform_app.domain.admission.decide` takes them."""
    teams: Mapping[str, Standing] = field(default_factory=dict)
    """Likewise."""
    now: datetime | None = None
    """Likewise."""
    served: Mapping[str, Placement] = field(default_factory=dict)
    """What each deployment holds, by name (`platform_app.domain.serving`)."""
    sees: Callable[[str], bool] = lambda _team: True
    """Whether who asks may know the jobs of a team by their names."""

    def names(self, jobs: Iterable[Job]) -> str:
        """Name jobs for who asks, the first few of them."""
        return _few(job.id if self.sees(job.team) else f"a job of team {job.team}" for job in jobs)

    def holdings(self, job: Job) -> dict[str, Placement]:
        """Give what each job holds where a job runs, or would, by job id."""
        held = holdings(self.held, self.catalog, self.sizes, self._served)
        return {one.id: held[one.id] for one in self.held if one.place == job.place}

    def used(self, job: Job, without: Collection[str] = ()) -> dict[str, float]:
        """Count the cluster workers of each group that are taken where a job runs, but for those of some jobs."""
        used = dict(Taken.beside(self._served, self.catalog).workers.get(job.place, {}))
        for job_id, placement in self.holdings(job).items():
            if job_id not in without:
                add(placement, used)
        return used

    @property
    def _served(self) -> Placement:
        return tuple(share for placement in self.served.values() for share in placement)

    def decided(self, job: Job) -> tuple[Decision, list[Job]]:
        """Give what admission says of a queued job, stored or not, and the jobs that it looks at before."""
        tiers = {tier.name for tier in self.catalog.tiers}
        queue = [*(one for one in self.queue if one.id != job.id and one.spec.tier in tiers), job]
        ahead: list[Job] = []
        for decision in decide(queue, self.held, self.catalog, self.sizes, self.teams, self.now, self._served):
            if decision.job.id == job.id:
                return decision, ahead
            if decision.job.place == job.place:
                ahead.append(decision.job)
        raise ValueError(f"admission says nothing of {job.id}")


def turn_signs(job: Job, room: Room) -> tuple[Sign, ...]:
    """Say what keeps a queued job from starting, as signs of the queue."""
    tiers = {tier.name for tier in room.catalog.tiers}
    if job.spec.tier not in tiers:
        return (_sign("NoTier", f"the catalog has no tier {job.spec.tier!r} any more"),)
    if problems := impossible(job.spec, room.catalog):
        return (_sign("NeverFits", "; ".join(f"{one.field}: {one.message}" for one in problems)),)
    decision, ahead = room.decided(job)
    waiting = sum(one.place == job.place and one.id != job.id for one in room.queue)
    line = f"it is number {len(ahead) + 1} of {waiting + 1} in the queue"
    if ahead:
        line += f", behind {room.names(ahead)}"
    position = _sign("Position", line)
    match decision.verdict:
        case Verdict.STARTS:
            return (_sign("Next", "there is room for it: it is started with the next pass over the queue"),)
        case Verdict.ROOM_IS_MADE if decision.victims:
            return (_sign("MakingRoom", f"room is made for it by {room.names(decision.victims)}"), position)
        case Verdict.ROOM_IS_MADE:
            return (_sign("MakingRoom", "elastic runs, or jobs that were told to go, make room for it"), position)
        case Verdict.QUOTA:
            numbers = decision.message.partition(": ")[2]
            return (_sign("Quota", f"team {job.team} holds as much as its quota allows: {numbers}"), position)
    if place(demand(job.spec), room.catalog, room.used(job)) is not None:
        return (_sign("Behind", f"{line}, and there is not room for all of them"),)
    need = demand(job.spec).at_least
    return (_sign("Full", f"it needs {need} free worker(s) at once: {_taken(job, room)}"), position)


def wait_for_room(job: Job, room: Room, remaining: Mapping[str, float]) -> Wait | None:
    """Say how long a queued job may wait for room: None where nothing at all can be known.

    At least: until it would fit if those ahead of it took nothing, with each running job done in half the time that
    its pace says. At most: until it fits though all ahead of it have started, with twice that time.

    Args:
        job: queued.
        room: who holds what.
        remaining: seconds that running jobs still take at their pace, by job id, as far as that is known.
    """
    need, gone, (_, ahead) = demand(job.spec), frozenset[str](), room.decided(job)
    ending = sorted((seconds, job_id) for job_id, seconds in remaining.items())
    earliest = 0.0 if place(need, room.catalog, room.used(job)) is not None else None
    latest = None
    for seconds, job_id in ending:
        gone = gone | {job_id}
        used = room.used(job, gone)
        if earliest is None and place(need, room.catalog, used) is not None:
            earliest = seconds / 2
        for one in ahead:
            add(place(demand(one.spec), room.catalog, used) or (), used)
        if place(need, room.catalog, used) is not None:
            latest = seconds * 2
            break
    return None if earliest is None else Wait(earliest, latest)


def _taken(job: Job, room: Room) -> str:
    """Say of each group that would do who holds its workers."""
    held, parts = room.holdings(job), []
    names = {one.id: room.names([one]) for one in room.held}
    if job.place == SHARED:
        held |= {f"deployment {name}": placement for name, placement in room.served.items()}
    for group in eligible(room.catalog, job.spec.resources):
        holders = [
            (names.get(holder, holder), share.cluster_workers)
            for holder, placement in held.items()
            for share in placement
            if share.group == group.name
        ]
        total = sum(workers for _, workers in holders)
        by = f" by {_few(f'{name} ({workers:g})' for name, workers in holders)}" if holders else ""
        parts.append(f"{total:g} of {group.max_workers} of {group.name} are taken{by}")
    each = max(slots_per_worker(group, job.spec.resources) for group in eligible(room.catalog, job.spec.resources))
    return "; ".join(parts) + (f" ({each} of its training workers fit on one)" if each > 1 else "")


def _few(names: Iterable[str]) -> str:
    known = [*names]
    return ", ".join(known[:_NAMED]) + (f" and {len(known) - _NAMED} more" if len(known) > _NAMED else "")


def _sign(reason: str, message: str) -> Sign:
    return Sign(Source.ADMISSION, reason, message, "the queue")
