"""What is taken: workers of each place's groups by the jobs that hold them, and of each team's quota by tier."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from platform_app.domain import quota
from platform_app.domain.capacity import Demand, Placement, add, charge, demand, exactly, is_elastic, place, trimmed
from platform_app.domain.job import Job, Place
from platform_app.specs import Catalog, ClusterChoice, Quota, SweepSpec

NO_QUOTA = Quota()
SHARED: Place = (ClusterChoice.SHARED, None)
"""Where models are served, beside the jobs that have no cluster of their own."""


@dataclass
class Taken:
    """What is taken at one moment; changed in place."""

    catalog: Catalog
    workers: dict[Place, dict[str, float]] = field(default_factory=dict)
    """Cluster workers by place and group."""
    charged: dict[str, dict[int, dict[str, float]]] = field(default_factory=dict)
    """Amounts by team, tier's priority and meter."""

    @classmethod
    def beside(cls, served: Placement, catalog: Catalog) -> "Taken":
        """Give one in which nothing is taken but what models that are served hold."""
        taken = cls(catalog)
        add(served, taken.workers.setdefault(SHARED, {}))
        return taken

    def copy(self) -> "Taken":
        """Give one that changes by itself."""
        workers = {where: dict(groups) for where, groups in self.workers.items()}
        charged = {
            team: {priority: dict(amounts) for priority, amounts in tiers.items()}
            for team, tiers in self.charged.items()
        }
        return Taken(self.catalog, workers, charged)

    def add(self, job: Job, placement: Placement, times: int = 1, is_borrowed: bool = False) -> None:
        """Take what a job holds; `times` -1 gives it back. What is borrowed counts as a job of its team alone."""
        groups = self.workers.setdefault(job.place, {})
        for share in placement:
            groups[share.group] = groups.get(share.group, 0.0) + times * share.cluster_workers
        self.charge(job, placement, times, is_borrowed)

    def charge(self, job: Job, placement: Placement, times: int = 1, is_borrowed: bool = False) -> None:
        """Charge its team for what a job holds, and take no worker."""
        if placement:
            asked = {quota.JOBS: 1.0} if is_borrowed else charge(demand(job.spec), placement, self.catalog)
            amounts = self.charged.setdefault(job.team, {}).setdefault(priority(job, self.catalog), {})
            quota.spend(amounts, asked, times)

    def by_team(self, team: str, priority: int | None = None) -> dict[str, float]:
        """Sum what a team is charged with; with a priority, what its tiers from there upwards are."""
        amounts: dict[str, float] = {}
        for tier, held in self.charged.get(team, {}).items():
            if priority is None or tier >= priority:
                quota.spend(amounts, held, 1)
        return amounts


def priority(job: Job, catalog: Catalog) -> int:
    """Give the priority of a job's tier; that of a tier which the catalog has no more is below all others."""
    known = {tier.name: tier.priority for tier in catalog.tiers}
    return known.get(job.spec.tier, min(known.values()) - 1)


def by_admission(active: Iterable[Job]) -> list[Job]:
    """Give jobs that hold capacity, those admitted first before the others."""
    return sorted(active, key=lambda job: (job.attempt.created_at if job.attempt else job.created_at, job.id))


def holdings(
    active: Iterable[Job], catalog: Catalog, sizes: Mapping[str, int], served: Placement = ()
) -> dict[str, Placement]:
    """Say what each job holds, by id: of what it was given, as much as it has or may have yet.

    Args:
        active: jobs that hold capacity.
        catalog: what there is.
        sizes: as `occupying` takes them, by job id.
        served: what models that are served hold (`platform_app.domain.serving`).
    """
    taken, found = Taken.beside(served, catalog), {}
    for job in by_admission(active):
        need = occupying(job, sizes.get(job.id, 0))
        given = job.attempt.placement if job.attempt else ()
        # An attempt of an earlier release does not say where: then as if it were placed after those before it.
        found[job.id] = trimmed(given, need.at_most) or place(need, catalog, taken.workers.get(job.place, {})) or ()
        taken.add(job, found[job.id])
    return found


def occupied(active: Sequence[Job], catalog: Catalog, sizes: Mapping[str, int]) -> dict[str, float]:
    """Count the cluster workers of each group that jobs of one place hold."""
    used: dict[str, float] = {}
    for placement in holdings(active, catalog, sizes).values():
        for share in placement:
            used[share.group] = used.get(share.group, 0.0) + share.cluster_workers
    return used


def occupying(job: Job, size: int) -> Demand:
    """Say what a running job holds: an elastic run what it has or may have, whichever is more.

    A sweep holds what it may use yet, which grows less with its last trials.

    Args:
        job: that holds capacity.
        size: training workers that it is on, or that a sweep may use yet; 0 when that is not known.
    """
    need = demand(job.spec)
    if isinstance(job.spec, SweepSpec) and size:
        return replace(need, at_most=max(need.at_least, min(need.at_most, size)))
    granted = job.attempt.granted_workers if job.attempt else None
    return need if granted is None or not is_elastic(job.spec) else exactly(need, max(granted, size))
