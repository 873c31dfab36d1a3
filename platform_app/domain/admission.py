"""Who may start now, and who makes room. A function of the queue, of what runs, of the quotas and of the catalog.

Jobs are looked at in their turn (`platform_app.domain.order`): first those within their team's quota, then those that
borrow what other teams leave idle. A job that does not fit does not hold back one behind it that fits elsewhere.

Where a job does not fit, jobs of a lower rank make room (`platform_app.domain.preemption`): of lower tiers, and, for
a job within its team's quota, whatever others have borrowed. Room that is being made is kept for whom it is made.

A job that has waited for `overdue_seconds` is served before all others of its kind, its room is kept for it as it comes
free, and then it is left alone for as long. So a job within its team's quota starts no later than `overdue_seconds`
plus, for itself and each such job before it, twice the longest time that a job holds the workers it needs.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from platform_app.domain import quota
from platform_app.domain.capacity import (
    Demand,
    Placement,
    at_least,
    charge,
    demand,
    is_elastic,
    place,
    price_per_hour,
    size,
)
from platform_app.domain.elastic import grants, parted
from platform_app.domain.holdings import NO_QUOTA, Taken, holdings, priority
from platform_app.domain.job import Job, Place
from platform_app.domain.order import Standing, Turns, is_overdue
from platform_app.domain.preemption import Rank, candidates, fewest, ranks
from platform_app.errors import FieldProblem
from platform_app.specs import AnyJobSpec, Catalog, Quota


class Verdict(StrEnum):
    """What becomes of a queued job."""

    STARTS = "starts"
    ROOM_IS_MADE = "room-is-made"
    """It fits once those that were told to go have gone, and elastic runs have shrunk."""
    QUOTA = "quota"
    """Its team holds as much as it may."""
    NO_ROOM = "no-room"


@dataclass(frozen=True)
class Decision:
    """What admission says of one queued job."""

    job: Job
    verdict: Verdict
    placement: Placement | None = None
    """Where it goes; None when it waits."""
    victims: tuple[Job, ...] = ()
    """Jobs that are to make room for it now."""
    message: str = ""
    """For a person: why it waits, with the numbers."""


def decide(
    queue: Iterable[Job],
    active: Sequence[Job],
    catalog: Catalog,
    sizes: Mapping[str, int] | None = None,
    teams: Mapping[str, Standing] | None = None,
    now: datetime | None = None,
    served: Placement = (),
) -> tuple[Decision, ...]:
    """Decide for each queued job whether it starts now, in the order in which they are served.

    Args:
        queue: jobs that wait, of any place.
        active: all jobs that hold capacity, of any place.
        catalog: what there is in each place.
        sizes: training workers on which elastic runs are now, and that sweeps may use yet, by job id, as far as it
            is known.
        teams: quotas and recent use, by team; one that is not named has no bounds.
        now: the time; without it nobody is overdue.
        served: what models that are served hold (`platform_app.domain.serving`): nobody has it, whatever the tier.
    """
    waiting = list(queue)
    desk = _Desk(waiting, active, catalog, sizes or {}, teams or {}, now, served)
    return tuple(desk.decisions(waiting))


def beyond_quota(spec: AnyJobSpec, its: Quota, catalog: Catalog) -> tuple[FieldProblem, ...]:
    """Say why a job could never run within its team's quota, though nothing of it were used; nothing when it could."""
    need, bounds = demand(spec), quota.limits(its)
    lasting = {quota.JOBS: bounds[quota.JOBS]} if its.borrow and quota.JOBS in bounds else bounds
    if place(need, catalog, {}, {} if its.borrow else bounds) is not None and lasting.get(quota.JOBS, 1) >= 1:
        return ()
    asked = charge(need, place(at_least(need), catalog, {}) or (), catalog)
    numbers = quota.shortfall(lasting, {}, asked) or "; ".join(f"{meter}: {bound:g}" for meter, bound in bounds.items())
    message = f"more than team {spec.team} may ever hold ({numbers}): ask for less, or an admin for a larger quota"
    return (FieldProblem("resources.num_workers" if hasattr(spec, "resources") else "workers", message),)


class _Desk:
    """One pass over the queue: what is taken now, and what will be once all that is under way is done."""

    def __init__(
        self,
        waiting: Sequence[Job],
        active: Sequence[Job],
        catalog: Catalog,
        sizes: Mapping[str, int],
        teams: Mapping[str, Standing],
        now: datetime | None,
        served: Placement,
    ) -> None:
        self._active, self._catalog, self._teams, self._clock, self._served = active, catalog, teams, now, served
        self._quotas = {name: team.quota for name, team in teams.items()}
        self._sizes, self._waiting = sizes, {job.id: job for job in waiting}
        self._held = holdings(active, catalog, sizes, served)
        self._ranks = ranks(active, self._held, catalog, teams)
        self._now, self._soon = Taken.beside(served, catalog), Taken.beside(served, catalog)
        self._turns = Turns(catalog, teams, now)
        for job in active:
            self._now.add(job, self._held[job.id], is_borrowed=self._has_borrowed(job))
            self._turns.holds(job.team, price_per_hour(self._held[job.id], catalog))
        self._running = {job.id: job for job in active if not job.is_leaving}
        # What an elastic run may have more, it has not yet; what it is to give up, it will have given up.
        wanted = self._grants()
        self._staying = {
            job_id: parted(self._held[job_id], wanted[job_id])[0] if job_id in wanted else self._held[job_id]
            for job_id in self._running
        }
        for job in self._running.values():
            self._soon.add(job, self._staying[job.id], is_borrowed=self._has_borrowed(job))
        self._kept: set[Place | str] = set()
        """Places in which room is kept for a job that is overdue, and teams of whose quota."""
        self._alike: dict[object, Decision] = {}
        """Decisions that were made of jobs that did not fit; within a pass room only gets less."""

    def decisions(self, waiting: Sequence[Job]) -> Iterator[Decision]:
        """Decide in turn: within the quotas first, then of what those borrow who may."""
        beyond: list[Job] = []
        for job in self._turns.of(waiting):
            decision = self._decided(job, borrows=False)
            if decision.verdict in (Verdict.QUOTA, Verdict.NO_ROOM) and self._quota(job).borrow:
                beyond.append(job)
            else:
                yield decision
        for job in self._turns.of(beyond):
            yield self._decided(job, borrows=True)

    def _decided(self, job: Job, borrows: bool) -> Decision:
        alike = job.place, job.team, job.spec.tier, demand(job.spec), borrows, self._is_overdue(job)
        if known := self._alike.get(alike):
            return replace(known, job=job, victims=())
        decision = self._decide(job, borrows)
        if decision.verdict in (Verdict.QUOTA, Verdict.NO_ROOM):
            self._alike[alike] = decision
        return decision

    def _decide(self, job: Job, borrows: bool) -> Decision:
        need = demand(job.spec)
        if placement := self._fits(need, job, (self._now, self._soon), borrows):
            return self._starts(job, placement, borrows)
        need = at_least(need)
        if placement := self._fits(need, job, (self._soon,), borrows):
            self._soon.add(job, placement, is_borrowed=borrows)
            return Decision(job, Verdict.ROOM_IS_MADE, message=self._is_made(job.team))
        if victims := self._victims(need, job, borrows):
            for victim in victims:
                del self._running[victim.id]
                self._soon.add(victim, self._staying.pop(victim.id), -1, self._has_borrowed(victim))
            self._soon.add(job, self._fits(need, job, (self._soon,), borrows) or (), is_borrowed=borrows)
            told = f"waits until room is made for it by {_names(victims, job.team)}"
            return Decision(job, Verdict.ROOM_IS_MADE, victims=victims, message=told)
        within = self._over_quota(need, job, borrows)
        if self._is_overdue(job) and not borrows:
            self._keep(need, job, is_room=not within)
        if within:
            return Decision(job, Verdict.QUOTA, message=f"waits within the quota of team {job.team}: {within}")
        return Decision(job, Verdict.NO_ROOM, message=self._full(need, job.team))

    def _starts(self, job: Job, placement: Placement, borrows: bool) -> Decision:
        """Start a job; an elastic run on what it will keep: jobs of its tier that wait come before more."""
        admitted = self._waiting.pop(job.id).admitted(self._clock or job.created_at, size(placement), placement)
        self._running[job.id] = admitted
        if is_elastic(job.spec):
            placement, _ = parted(placement, self._grants()[job.id])
        self._now.add(job, placement, is_borrowed=borrows)
        self._soon.add(job, placement, is_borrowed=borrows)
        self._turns.holds(job.team, price_per_hour(placement, self._catalog))
        return Decision(job, Verdict.STARTS, placement)

    def _grants(self) -> Mapping[str, Placement]:
        running, waiting = [*self._running.values()], self._waiting.values()
        return grants(running, waiting, self._catalog, self._sizes, self._quotas, self._served)

    def _keep(self, need: Demand, job: Job, is_room: bool) -> None:
        """Keep free what one job will have, of its team's quota or of a place, as it comes free from now on."""
        of = job.place if is_room else job.team
        placement = place(need, self._catalog, {}, quota.limits(self._quota(job)))
        if placement and of not in self._kept:
            self._kept.add(of)
            (self._soon.add if is_room else self._soon.charge)(job, placement)

    def _fits(self, need: Demand, job: Job, taken: Sequence[Taken], borrows: bool) -> Placement | None:
        """Place a job beside what is taken, at each of some moments."""
        workers: dict[str, float] = {}
        for one in taken:
            for group, number in one.workers.get(job.place, {}).items():
                workers[group] = max(workers.get(group, 0.0), number)
        return place(need, self._catalog, workers, self._left(job, taken, borrows))

    def _left(self, job: Job, taken: Sequence[Taken], borrows: bool) -> dict[str, float]:
        """Say what the quota leaves for a job: who may borrow has all of it for higher tiers first."""
        its = self._quota(job)
        bounds = quota.limits(its)
        if borrows:
            bounds = {meter: bound for meter, bound in bounds.items() if meter == quota.JOBS}
        left = dict(bounds)
        floor = priority(job, self._catalog) if its.borrow and not borrows else None
        for one in taken if bounds else ():
            for meter, free in quota.remaining(bounds, one.by_team(job.team, floor)).items():
                left[meter] = min(left[meter], free)
        if floor is not None and quota.JOBS in left:
            left[quota.JOBS] = min(bounds[quota.JOBS] - one.by_team(job.team).get(quota.JOBS, 0.0) for one in taken)
        return left

    def _victims(self, need: Demand, job: Job, borrows: bool) -> tuple[Job, ...]:
        rank: Rank = not borrows, priority(job, self._catalog)
        willing = candidates(job, rank, self._active, self._ranks, self._catalog, self._clock)
        # Room in another place, within another team's quota, is of no use to it.
        here = [one for one in willing if job.place == one.place or job.team == one.team]
        useful = [one for one in here if one.id in self._staying]

        def fits_without(gone: Sequence[Job]) -> bool:
            then = self._soon.copy()
            for one in gone:
                then.add(one, self._staying[one.id], -1, self._has_borrowed(one))
            return self._fits(need, job, (then,), borrows) is not None

        return fewest(useful, fits_without) if useful else ()

    def _over_quota(self, need: Demand, job: Job, borrows: bool) -> str:
        """Say which bounds of its quota keep a job waiting; nothing where it is for want of room."""
        left = self._left(job, (self._soon,), borrows)
        alone = place(need, self._catalog, {})
        if alone is None or place(need, self._catalog, {}, left) is not None:
            return ""
        asked = charge(need, alone, self._catalog)
        bounds = quota.limits(self._quota(job))
        used = {meter: bound - left.get(meter, bound) for meter, bound in bounds.items()}
        return quota.shortfall(bounds, used, asked) or "it is used up"

    def _quota(self, job: Job) -> Quota:
        return self._teams[job.team].quota if job.team in self._teams else NO_QUOTA

    def _has_borrowed(self, job: Job) -> bool:
        """Say whether a running job of a team that may borrow is beyond its quota."""
        return self._quota(job).borrow and not self._ranks[job.id][0]

    def _is_overdue(self, job: Job) -> bool:
        return is_overdue(job, self._catalog, self._clock)

    def _full(self, need: Demand, team: str) -> str:
        holders = [_names(self._active, team)] if self._active else []
        holders += ["models that are served"] if self._served else []
        return f"waits for {need.at_least} free worker(s); held now by: {', '.join(holders) or 'jobs ahead of it'}"

    def _is_made(self, team: str) -> str:
        going = [job for job in self._active if job.is_leaving]
        by = _names(going, team) if going else "elastic runs, which give up workers"
        return f"waits until room is made by {by}"


def _names(jobs: Sequence[Job], team: str) -> str:
    """Name the jobs of a team, and count the others: no team learns which jobs another has."""
    own = [job.id for job in jobs if job.team == team]
    names = own if len(own) <= 3 else [*own[:3], f"{len(own) - 3} more of team {team}"]
    if others := len(jobs) - len(own):
        names = [*names, f"{others} {'job' if others == 1 else 'jobs'} of other teams"]
    return ", ".join(names)
