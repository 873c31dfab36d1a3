"""The plan before the price: where a job would run, when, and for how much, were it submitted now."""

from collections.abc import Mapping
from dataclasses import dataclass

from platform_app.domain.capacity import Placement, demand, place, price_per_hour
from platform_app.domain.causes import CAUSES
from platform_app.domain.explain import explain
from platform_app.domain.job import Job
from platform_app.domain.supply import Option, options
from platform_app.domain.turn import Room, Wait, turn_signs, wait_for_room


@dataclass(frozen=True)
class Plan:
    """What would become of a job."""

    placement: Placement
    """Where it would run: on what is free now, or on an empty cluster where it has to wait."""
    price_per_hour: float
    """US dollars."""
    starts: str
    """When, in a sentence."""
    blocked: bool
    """It would have to wait for others."""
    preempts: str
    """Jobs that would be told to make room for it, by name; empty for none."""
    wait: Wait | None
    """How long for, where something is known of it; None also where it would not wait."""
    options: tuple[Option, ...]
    """What there would be room for at once instead; nothing where it would start at once."""


def plan(job: Job, room: Room, remaining: Mapping[str, float]) -> Plan:
    """Plan a job that is not submitted.

    Args:
        job: queued, were it submitted; it can run on this catalog.
        room: who holds what, and who stands in line.
        remaining: as `platform_app.domain.turn.wait_for_room` takes it.
    """
    need, used = demand(job.spec), room.used(job)
    first, *_ = explain(turn_signs(job, room), CAUSES)
    blocked = not first.comes
    now = None if blocked else place(need, room.catalog, used)
    placement = now or place(need, room.catalog, {}) or ()
    when = "it would wait" if blocked else "it would start at once" if now else "it would start when room is made"
    return Plan(
        placement=placement,
        price_per_hour=price_per_hour(placement, room.catalog),
        starts=f"{when}: {first.why}",
        blocked=blocked,
        preempts=room.names(room.decided(job)[0].victims),
        wait=wait_for_room(job, room, remaining) if blocked else None,
        options=options(job.spec, room.catalog, used, frozenset()) if blocked else (),
    )
