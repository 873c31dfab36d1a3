"""Who may start now. A function of the queue, of what runs and of the catalog: no I/O, no clock.

Order: tier, then age. A job that does not fit does not hold back one behind it that fits elsewhere.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from platform_app.domain.capacity import Placement, demand, place
from platform_app.domain.job import Job
from platform_app.specs import Catalog


@dataclass(frozen=True)
class Decision:
    """What admission says of one queued job."""

    job: Job
    placement: Placement | None
    """Where it goes; None when it waits."""
    message: str
    """For a person: why it waits, with the numbers."""


def decide(queue: Iterable[Job], active: Sequence[Job], catalog: Catalog) -> tuple[Decision, ...]:
    """Decide for each queued job whether it starts now, in the order in which they are served."""
    used = occupied(active, catalog)
    decisions = []
    for job in sorted(queue, key=lambda job: (-catalog.priority(job.spec.tier), job.created_at, job.id)):
        placement = place(demand(job.spec), catalog, used)
        for share in placement or ():
            used[share.group] = used.get(share.group, 0.0) + share.cluster_workers
        decisions.append(Decision(job, placement, "" if placement else _waits(job, active)))
    return tuple(decisions)


def occupied(active: Sequence[Job], catalog: Catalog) -> dict[str, float]:
    """Count the cluster workers of each group that running jobs hold, oldest first as they were admitted."""
    used: dict[str, float] = {}
    for job in sorted(active, key=lambda job: (job.attempt.created_at if job.attempt else job.created_at, job.id)):
        for share in place(demand(job.spec), catalog, used) or ():
            used[share.group] = used.get(share.group, 0.0) + share.cluster_workers
    return used


def _waits(job: Job, active: Sequence[Job]) -> str:
    need = demand(job.spec)
    holders = ", ".join(holder.id for holder in active[:3]) + (" and others" if len(active) > 3 else "")
    return f"waits for {need.at_least} free worker(s); held now by: {holders or 'jobs ahead of it'}"
