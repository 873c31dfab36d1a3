"""What the API answers about a job's chances: the plan before the price, and why a job is as it is."""

from datetime import datetime

from platform_app.display import View
from platform_app.domain.explain import Source
from platform_app.domain.job import JobState
from platform_app.specs import JobSpec


class ShareView(View):
    """Where some of a job's workers would run."""

    group: str
    training_workers: int
    cluster_workers: float
    price_per_hour: float = 0.0
    """US dollars."""


class OptionView(View):
    """Another way to ask for the same work, that there is room for now."""

    change: str
    """The field and its value, as in a spec."""
    price_per_hour: float
    """US dollars."""


class WaitView(View):
    """How long something may take from now on."""

    at_least_seconds: float
    at_most_seconds: float | None
    """None where nobody can know."""


class PlanView(View):
    """What `?dry_run=true` answers: what would be run, where, and for how much."""

    spec: JobSpec
    spec_digest: str
    submission_id: str
    entrypoint: str
    runtime_env: dict[str, object]
    ray_job: dict[str, object] | None = None
    """The RayJob that would be created for a dedicated job."""
    placement: tuple[ShareView, ...]
    """Where it would run: on what is free now, or on an empty cluster where it has to wait."""
    price_per_hour: float
    """US dollars."""
    hours: float | None = None
    """The time that was asked about."""
    price: float | None = None
    """US dollars for that time."""
    starts: str = ""
    """When it would start, in a sentence."""
    blocked: bool = False
    """It would have to wait for others."""
    preempts: str = ""
    """Jobs that would be told to make room for it: a checkpoint, and back to the queue."""
    wait: WaitView | None = None
    """How long for, where something is known of it."""
    options: tuple[OptionView, ...] = ()
    """What there would be room for at once instead, the cheapest first."""


class SignView(View):
    """One thing that is known of a job."""

    source: Source
    about: str
    """What it is said of."""
    reason: str
    message: str
    at: datetime | None
    """When it was last said; None where it is so now."""


class ReasonView(View):
    """One reason why a job is as it is."""

    cause: str
    """Stable, for programs: `groups-full`, `out-of-stock`, `module-missing`."""
    why: str
    """In a sentence."""
    unblock: str
    """What would change it; empty where there is nothing to do."""


class ExplanationView(ReasonView):
    """Why a job is as it is: the first reason, and under it what is known."""

    job_id: str
    state: JobState
    blocked: bool
    """Something is in the way, or it has failed; False for what makes its way."""
    options: tuple[OptionView, ...]
    """What could be asked for instead and would be had now, the cheapest first."""
    price_per_hour: float
    """US dollars, as it was asked for."""
    wait: WaitView | None
    """Until it has its workers; None where nothing can be known, or it waits for nothing."""
    evidence: tuple[SignView, ...]
    """What says so first, then all else that is known."""
    others: tuple[ReasonView, ...]
    """Further reasons, the most telling first."""
