"""Who makes room: jobs of a lower rank, the newest first, and never more than are needed."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from platform_app.domain import quota
from platform_app.domain.capacity import Placement, charge, demand
from platform_app.domain.holdings import by_admission, priority
from platform_app.domain.job import Job
from platform_app.domain.order import Standing, is_overdue
from platform_app.specs import Catalog

Rank = tuple[bool, int]
"""Whether a job is within its team's quota, and its tier's priority: what is borrowed ranks below all that is not."""


def ranks(
    active: Iterable[Job], held: Mapping[str, Placement], catalog: Catalog, teams: Mapping[str, Standing]
) -> dict[str, Rank]:
    """Rank jobs that hold capacity, by id: a team's quota is its higher tiers' first, then that of older jobs."""
    found: dict[str, Rank] = {}
    charged: dict[str, dict[str, float]] = {}
    for job in sorted(by_admission(active), key=lambda job: -priority(job, catalog)):
        amounts, used = charge(demand(job.spec), held[job.id], catalog), charged.setdefault(job.team, {})
        bounds = quota.limits(teams[job.team].quota) if job.team in teams else {}
        within = not quota.shortfall(bounds, used, amounts)
        found[job.id] = within, priority(job, catalog)
        if within:
            quota.spend(used, amounts, 1)
    return found


def candidates(
    job: Job, rank: Rank, active: Iterable[Job], ranked: Mapping[str, Rank], catalog: Catalog, now: datetime | None
) -> list[Job]:
    """Give the jobs that may be told to make room for one of a rank: the lowest and the newest first."""
    highest = max(tier.priority for tier in catalog.tiers)
    found = [
        one
        for one in active
        if ranked[one.id] < rank
        # What serves is never moved.
        and ranked[one.id][1] < highest
        # A team has nothing of taking back from itself what it has borrowed.
        and (one.team != job.team or ranked[one.id][1] < rank[1])
        and not one.is_leaving
        and not (ranked[one.id][0] and _has_its_turn(one, catalog, now))
    ]
    newest_first = by_admission(found)[::-1]
    return sorted(newest_first, key=lambda one: ranked[one.id])


def fewest(willing: Sequence[Job], fits_without: Callable[[Sequence[Job]], bool]) -> tuple[Job, ...]:
    """Choose who goes: of the first ones that suffice, none who is not needed; nobody where all would not suffice.

    Args:
        willing: the jobs that may be chosen, in the order in which they are taken.
        fits_without: says whether what waits would fit once some have gone; it still does when more have.
    """
    if not fits_without(willing):
        return ()
    chosen: list[Job] = []
    for job in willing:
        chosen.append(job)
        if fits_without(chosen):
            break
    # Those that are chosen last are the ones to spare most.
    for job in chosen[::-1]:
        if fits_without(others := [one for one in chosen if one is not job]):
            chosen = others
    return tuple(chosen)


def _has_its_turn(job: Job, catalog: Catalog, now: datetime | None) -> bool:
    """Say whether a job that waited too long has not run for as long yet as it is left alone for that."""
    if now is None or job.attempt is None or not is_overdue(job, catalog, job.attempt.created_at):
        return False
    return now - job.attempt.created_at < timedelta(seconds=catalog.overdue_seconds)
