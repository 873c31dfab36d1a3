"""What becomes of the workers that a job was promised: whether they come, and what else there is, for how much.

Functions of the catalog and of what is seen of the worker groups.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from platform_app.domain.capacity import Placement, demand, eligible, place, price_per_hour, slots_per_worker
from platform_app.domain.explain import Sign, Source
from platform_app.specs import AnyJobSpec, Catalog, CommandSpec, MarketPolicy, WorkerGroup


@dataclass(frozen=True)
class GroupCount:
    """Workers of one group."""

    running: int
    pending: int
    """Asked for, and not there yet."""
    since: datetime | None = None
    """When the longest awaited one was asked for; None where that is not known."""
    troubles: tuple[Sign, ...] = ()
    """What keeps them from coming."""


NONE = GroupCount(running=0, pending=0)


def worker_signs(spec: AnyJobSpec, catalog: Catalog, supplies: Mapping[str, GroupCount]) -> tuple[Sign, ...]:
    """Say whether workers come for a job that runs and lacks them.

    A group that has trouble is in nobody's way while another that would do is bringing workers: its trouble is told
    as what it is, a group set aside.

    Args:
        spec: the job's.
        catalog: the groups.
        supplies: what is seen of each group, by its name.
    """
    groups = eligible(catalog, spec.resources)
    seen = {group.name: supplies.get(group.name, NONE) for group in groups}
    coming = [name for name, supply in seen.items() if supply.pending and not supply.troubles]
    if coming:
        asked = ", ".join(f"{seen[name].pending} of {name}" for name in coming)
        aside = [replace(trouble, reason="SetAside") for one in seen.values() for trouble in one.troubles]
        since = min((at for name in coming if (at := seen[name].since)), default=None)
        return (
            Sign(Source.WORKERS, "Launching", f"workers are being started: {asked}", "the autoscaler", since),
            *aside,
        )
    if troubles := tuple(trouble for supply in seen.values() for trouble in supply.troubles):
        following = [g.name for g in groups if not seen[g.name].troubles and not _is_full(g, seen[g.name])]
        told = f"; {following[0]} is asked next" if following else ""
        return tuple(replace(trouble, message=trouble.message + told) for trouble in troubles)
    if all(_is_full(group, seen[group.name]) for group in groups):
        full = ", ".join(
            f"{group.name} has {seen[group.name].running} of at most {group.max_workers}" for group in groups
        )
        return (Sign(Source.WORKERS, "AtMaximum", f"all worker groups that it can use are full: {full}"),)
    there = sum(seen[group.name].running * slots_per_worker(group, spec.resources) for group in groups)
    if there >= demand(spec).at_least:
        return ()
    return (Sign(Source.WORKERS, "NotAsked", "the autoscaler has not asked for its workers yet", "the autoscaler"),)


def _is_full(group: WorkerGroup, supply: GroupCount) -> bool:
    return supply.running >= group.max_workers


@dataclass(frozen=True)
class Option:
    """Another way to ask for the same work, that there is room for now."""

    change: str
    """The field and its value, as in a spec: `resources.market: on-demand`."""
    placement: Placement
    price_per_hour: float
    """US dollars."""


def options(
    spec: AnyJobSpec, catalog: Catalog, used: Mapping[str, float], without: frozenset[str]
) -> tuple[Option, ...]:
    """Give what a job that waits could ask for instead, and would have room for now; the cheapest first.

    Args:
        spec: the job's.
        catalog: the groups and their prices.
        used: cluster workers of each group that are taken.
        without: groups that give nothing now.
    """
    taken = {
        **used,
        **{group.name: float(group.max_workers) for group in catalog.worker_groups if group.name in without},
    }
    resources, found = spec.resources, []
    # A command has two fields for what a run and a sweep have one for.
    field = ("workers" if spec.workers else "driver") if isinstance(spec, CommandSpec) else "resources"
    changes: list[tuple[str, dict[str, object]]] = [
        (f"{field}.market: {policy}", {"market": policy}) for policy in MarketPolicy if policy is not resources.market
    ]
    if resources.accelerator_type:
        changes.append((f"{field}.accelerator_type: any", {"accelerator_type": None}))
    for fewer in range(resources.min_workers - 1, 0, -1):
        changes.append((f"{field}.num_workers: {fewer}", {"num_workers": fewer}))
    for change, update in changes:
        need = demand(spec.model_copy(update={field: resources.model_copy(update=update)}))
        placement = place(need, catalog, taken)
        if placement is not None:
            found.append(Option(change, placement, price_per_hour(placement, catalog)))
        if placement is not None and "num_workers" in update:
            break
    return tuple(sorted(found, key=lambda option: option.price_per_hour))
