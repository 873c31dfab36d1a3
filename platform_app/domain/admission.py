"""Who may start now. A function of the queue, of what runs and of the catalog: no I/O, no clock.

Order: tier, then age. A job that does not fit does not hold back one behind it that fits elsewhere.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from platform_app.domain.capacity import Demand, Placement, add, demand, exactly, is_elastic, place
from platform_app.domain.job import Job
from platform_app.specs import Catalog, SweepSpec


@dataclass(frozen=True)
class Decision:
    """What admission says of one queued job."""

    job: Job
    placement: Placement | None
    """Where it goes; None when it waits."""
    message: str
    """For a person: why it waits, with the numbers."""


def decide(
    queue: Iterable[Job], active: Sequence[Job], catalog: Catalog, sizes: Mapping[str, int] | None = None
) -> tuple[Decision, ...]:
    """Decide for each queued job whether it starts now, in the order in which they are served.

    Args:
        queue: jobs that wait.
        active: jobs that hold capacity.
        catalog: what there is.
        sizes: training workers on which elastic runs are now, and that sweeps may use yet, by job id, as far as it
            is known.
    """
    used = occupied(active, catalog, sizes or {})
    decisions = []
    for job in in_order(queue, catalog):
        placement = place(demand(job.spec), catalog, used)
        add(placement or (), used)
        decisions.append(Decision(job, placement, "" if placement else _waits(job, active)))
    return tuple(decisions)


def in_order(queue: Iterable[Job], catalog: Catalog) -> list[Job]:
    """Give queued jobs in the order in which they are served."""
    return sorted(queue, key=lambda job: (-catalog.priority(job.spec.tier), job.created_at, job.id))


def by_admission(active: Iterable[Job]) -> list[Job]:
    """Give jobs that hold capacity, those admitted first before the others."""
    return sorted(active, key=lambda job: (job.attempt.created_at if job.attempt else job.created_at, job.id))


def occupied(active: Sequence[Job], catalog: Catalog, sizes: Mapping[str, int]) -> dict[str, float]:
    """Count the cluster workers of each group that jobs hold, oldest first as they were admitted."""
    used: dict[str, float] = {}
    for job in by_admission(active):
        add(place(charge(job, sizes.get(job.id, 0)), catalog, used) or (), used)
    return used


def charge(job: Job, size: int) -> Demand:
    """Say what a running job is charged for: an elastic run for what it has or may have, whichever is more.

    A sweep is charged for what it may use yet, which grows less with its last trials.

    Args:
        job: that holds capacity.
        size: training workers that it is on, or that a sweep may use yet; 0 when that is not known.
    """
    need = demand(job.spec)
    if isinstance(job.spec, SweepSpec) and size:
        return replace(need, at_most=max(need.at_least, min(need.at_most, size)))
    granted = job.attempt.granted_workers if job.attempt else None
    return need if granted is None or not is_elastic(job.spec) else exactly(need, max(granted, size))


def _waits(job: Job, active: Sequence[Job]) -> str:
    need = demand(job.spec)
    holders = ", ".join(holder.id for holder in active[:3]) + (" and others" if len(active) > 3 else "")
    return f"waits for {need.at_least} free worker(s); held now by: {holders or 'jobs ahead of it'}"
