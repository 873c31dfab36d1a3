"""What a job needs, what worker groups can give, and whether the one fits into the other.

Everything is counted in whole workers' room: a *slot* is room for one training worker of a given demand on one
cluster worker.
"""

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, replace

from platform_app.domain import quota
from platform_app.errors import FieldProblem
from platform_app.specs import (
    AnyJobSpec,
    Catalog,
    CommandSpec,
    Market,
    MarketPolicy,
    SweepSpec,
    WorkerGroup,
    WorkerResources,
)


@dataclass(frozen=True)
class Demand:
    """Training workers that a job needs at one time."""

    per_worker: WorkerResources
    at_least: int
    """Workers without which it cannot start: the fewest of a training run, those of one trial of a sweep."""
    at_most: int
    """Workers that it would use if it had them."""
    together: int = 1
    """Workers that come and go together: those of one trial of a sweep."""
    driver: WorkerResources | None = None
    """What it holds beside its workers: a command that asks Ray for workers runs on one itself."""


@dataclass(frozen=True)
class Share:
    """Part of a job's workers on one group."""

    group: str
    training_workers: int
    """0 for the share of its driver."""
    cluster_workers: float
    """Cluster workers of the group that they occupy; a fraction where several share one."""


Placement = tuple[Share, ...]


def demand(spec: AnyJobSpec) -> Demand:
    """Say what a job needs at one time."""
    if isinstance(spec, SweepSpec):
        each = spec.resources.max_workers
        at_once = min(spec.search.max_concurrent, spec.num_trials)
        return Demand(spec.resources, at_least=each, at_most=at_once * each, together=each)
    if isinstance(spec, CommandSpec):
        driver = spec.driver if spec.workers else None
        return Demand(spec.resources, spec.resources.min_workers, spec.resources.max_workers, driver=driver)
    return Demand(spec.resources, at_least=spec.resources.min_workers, at_most=spec.resources.max_workers)


def is_elastic(spec: AnyJobSpec) -> bool:
    """Say whether a run may change its number of workers while it runs."""
    return spec.resources.is_elastic


def exactly(need: Demand, num_workers: int) -> Demand:
    """Give the demand for a certain number of the same workers."""
    return Demand(need.per_worker, at_least=num_workers, at_most=num_workers)


def at_least(need: Demand) -> Demand:
    """Give the demand for no more than it cannot do without."""
    return replace(need, at_most=need.at_least)


def add(placement: Placement, used: MutableMapping[str, float]) -> None:
    """Count a placement's cluster workers as taken."""
    for share in placement:
        used[share.group] = used.get(share.group, 0.0) + share.cluster_workers


def size(placement: Placement) -> int:
    """Count the training workers of a placement."""
    return sum(share.training_workers for share in placement)


def trimmed(placement: Placement, training_workers: int) -> Placement:
    """Give so many of a placement's workers, those on preferred groups, with its driver."""
    kept: list[Share] = []
    for share in placement:
        take = min(share.training_workers, training_workers)
        if share.training_workers == 0:
            kept.append(share)
        elif take:
            kept.append(Share(share.group, take, share.cluster_workers * take / share.training_workers))
            training_workers -= take
    return tuple(kept)


def slots_per_worker(group: WorkerGroup, per_worker: WorkerResources) -> int:
    """How many training workers fit on one worker of the group; 0 when none does."""
    by_cpu = group.cpus / per_worker.cpus_per_worker
    by_gpu = group.gpus / per_worker.gpus_per_worker if per_worker.gpus_per_worker else by_cpu
    return int(min(by_cpu, by_gpu) + quota.EPSILON)


def eligible(catalog: Catalog, per_worker: WorkerResources) -> tuple[WorkerGroup, ...]:
    """Give the groups on which one training worker could ever run, the preferred first."""
    found = (g for g in catalog.worker_groups if not _refusal(g, per_worker) and slots_per_worker(g, per_worker))
    return tuple(sorted(found, key=lambda group: -group.priority))


def place(
    need: Demand, catalog: Catalog, used: Mapping[str, float], left: quota.Amounts | None = None
) -> Placement | None:
    """Put a job on the groups that have room, preferred groups first.

    The meters of a quota lie within one another, so that taking what is preferred never leads to fewer workers.

    Args:
        need: what the job needs.
        catalog: the groups and their maxima.
        used: cluster workers of each group that are taken already.
        left: what its team's quota leaves, by meter; None where nothing bounds it.

    Returns:
        Where its workers go: as many as fit, `need.at_most` at the most; None when not even `need.at_least` fit.
    """
    left = left or {}
    if left.get(quota.JOBS, 1) < 1:
        return None
    beside: Placement = ()
    if need.driver:
        beside = tuple(replace(one, training_workers=0) for one in _fill(need.driver, 1, catalog, used, left))
        if not beside:
            return None
        used = dict(used)
        add(beside, used)
        on = next(group for group in catalog.worker_groups if group.name == beside[0].group)
        left = quota.less(left, quota.of_worker(on, need.driver), 1)
    shares = _fill(need.per_worker, need.at_most, catalog, used, left)
    most = size(shares)
    wanted = most - most % need.together
    if wanted < need.at_least:
        return None
    return (*beside, *(shares if wanted == most else _fill(need.per_worker, wanted, catalog, used, left)))


def _fill(
    per_worker: WorkerResources, wanted: int, catalog: Catalog, used: Mapping[str, float], left: quota.Amounts
) -> Placement:
    """Put as many workers on groups as there is room for, and as are wanted."""
    shares: list[Share] = []
    for group in eligible(catalog, per_worker):
        each = slots_per_worker(group, per_worker)
        room = (group.max_workers - used.get(group.name, 0.0)) * each + quota.EPSILON
        bounded = quota.of_worker(group, per_worker) if left else {}
        if (take := min(wanted, int(min(room, quota.workers_within(left, bounded))))) > 0:
            shares.append(Share(group.name, take, take / each))
            left = quota.less(left, bounded, take)
            wanted -= take
    return tuple(shares)


def impossible(spec: AnyJobSpec, catalog: Catalog) -> tuple[FieldProblem, ...]:
    """Say why a job could never run on this catalog, even with every group empty; nothing when it could."""
    need = demand(spec)
    if isinstance(spec, CommandSpec) and spec.driver_memory:
        most_gib = max((group.memory_gib for group in eligible(catalog, spec.driver)), default=0)
        if spec.driver_memory > most_gib * 2**30:
            message = f"the largest worker has {most_gib:g} GiB; got {spec.driver_memory / 2**30:.3g} GiB"
            return (FieldProblem("driver_memory", message),)
    if place(need, catalog, {}) is not None:
        return ()
    if not isinstance(spec, CommandSpec):
        return _impossible("resources", need, catalog)
    alone = _impossible("driver", Demand(spec.driver, at_least=1, at_most=1), catalog)
    return alone or (_impossible("workers", need, catalog) if spec.workers else ())


def _impossible(field: str, need: Demand, catalog: Catalog) -> tuple[FieldProblem, ...]:
    wanted = need.per_worker
    allowed = [group for group in catalog.worker_groups if not _refusal(group, wanted)]
    if not allowed:
        refusals = "; ".join(f"{group.name}: {_refusal(group, wanted)}" for group in catalog.worker_groups)
        which = "accelerator_type" if wanted.accelerator_type else "market"
        return (FieldProblem(f"{field}.{which}", f"no worker group has such workers ({refusals})"),)
    if not eligible(catalog, wanted):
        return _too_big_for_a_worker(field, wanted, allowed)
    most = sum(group.max_workers * slots_per_worker(group, wanted) for group in eligible(catalog, wanted))
    if need.driver is None and most >= need.at_least:
        return ()
    beside = " beside its driver" if need.driver else ""
    message = f"at most {most} such workers can exist together ({_sizes(allowed)}){beside}; got {need.at_least}"
    return (FieldProblem(f"{field}.num_workers", message),)


def charge(need: Demand, placement: Placement, catalog: Catalog) -> dict[str, float]:
    """Say what a placement is charged with, by meter: every worker with what it asks for, and one job."""
    groups = {group.name: group for group in catalog.worker_groups}
    amounts: dict[str, float] = {quota.JOBS: 1}
    for share in placement:
        held = need.per_worker if share.training_workers else need.driver or need.per_worker
        quota.spend(amounts, quota.of_worker(groups[share.group], held), share.training_workers or 1)
    return amounts


def price_per_hour(placement: Placement, catalog: Catalog) -> float:
    """Price of a placement in US dollars per hour."""
    prices = {group.name: group.price_per_hour for group in catalog.worker_groups}
    return sum(prices[share.group] * share.cluster_workers for share in placement)


def _refusal(group: WorkerGroup, per_worker: WorkerResources) -> str | None:
    wanted = per_worker.accelerator_type
    if wanted and group.accelerator_type != wanted:
        return f"has {group.accelerator_type or 'no accelerator'}"
    if per_worker.market is MarketPolicy.SPOT and group.market is not Market.SPOT:
        return "is not spot"
    if per_worker.market is MarketPolicy.ON_DEMAND and group.market is not Market.ON_DEMAND:
        return "is not on-demand"
    # GPU workers are too dear to run what needs no GPU; the CPU group is there for it.
    if per_worker.gpus_per_worker == 0 and group.gpus:
        return "is kept for GPU work"
    return None


def _too_big_for_a_worker(field: str, wanted: WorkerResources, groups: list[WorkerGroup]) -> tuple[FieldProblem, ...]:
    most_gpus = max(group.gpus for group in groups)
    most_cpus = max(group.cpus for group in groups if group.gpus >= min(wanted.gpus_per_worker, most_gpus))
    problems = []
    if wanted.gpus_per_worker > most_gpus:
        message = f"the largest worker has {most_gpus} GPUs ({_sizes(groups)}); got {wanted.gpus_per_worker:g}"
        problems.append(FieldProblem(f"{field}.gpus_per_worker", message))
    if wanted.cpus_per_worker > most_cpus:
        message = f"the largest worker has {most_cpus} CPUs ({_sizes(groups)}); got {wanted.cpus_per_worker:g}"
        problems.append(FieldProblem(f"{field}.cpus_per_worker", message))
    return tuple(problems)


def _sizes(groups: list[WorkerGroup]) -> str:
    return ", ".join(f"{g.name}: up to {g.max_workers} × {g.cpus} CPUs, {g.gpus} GPUs" for g in groups)
