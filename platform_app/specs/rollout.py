"""How a new version comes to lead: the strategy, its steps, its guards, and what replicas count meanwhile."""

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from platform_app.specs.base import ImportPath, Spec

NUM_BINS = 10
"""Bins of prediction scores: tenths of what the champion predicts."""


class Strategy(StrEnum):
    """How a new version meets the traffic."""

    IMMEDIATE = "immediate"
    """As soon as it has started and answered its own example, it takes all requests."""
    CANARY = "canary"
    """It answers a share of the requests, drawn by chance, that grows step by step."""
    SHADOW = "shadow"
    """It gets copies of a share of the requests, and nobody gets its answers."""
    AB = "ab"
    """It answers those callers whose key falls to it, and always the same ones."""


class Step(Spec):
    """One stage of a rollout; the next begins when both its time and its requests are over."""

    weight: float = Field(gt=0, le=100)
    """Percentage of the requests (of the keys, with `ab`) that the candidate gets."""
    hold_seconds: float = Field(ge=0, default=60)
    min_requests: int = Field(ge=0, default=200)
    """Requests that the candidate must have taken in this step: without evidence nothing moves on."""


class Evaluation(Spec):
    """An examination before any traffic: candidate and champion predict the same labelled rows, on a worker."""

    dataset: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]*$")] | ImportPath
    """A name that `serve.evaluation` knows, such as `digits-test`, or a function `module:attr` that gives the inputs
    (an array, or arrays by input name) and the labels. What the model's own code paths hold can be named too."""
    metric: Literal["accuracy", "mse"] | ImportPath = "accuracy"
    """Or a function `module:attr` of labels and outputs (arrays) that gives a number."""
    mode: Literal["max", "min"] = "max"
    margin: float = Field(ge=0, default=0.01)
    """How much worse than the champion the candidate may be, in the metric's own unit."""


class Guards(Spec):
    """What a candidate must not do; each guard during traffic is a sequential test (`platform_app.domain.guards`)."""

    evaluation: Evaluation | None = None
    false_alarm_rate: float = Field(gt=0, lt=1, default=0.01)
    """Of all rollouts of a candidate that is no worse than its champion, the share that is rolled back at most."""
    error_rate: float | None = Field(ge=1, default=1)
    """Tolerated ratio of the odds that a request fails, candidate to champion; 1: it may not fail more often, null: no
    such guard."""
    latency: float | None = Field(ge=1, default=4)
    """Tolerated ratio of the odds that a request takes longer than the champion's running 95th percentile: 4 lets the
    slow share grow from 5 % to 17 %."""
    score_drift: float | None = Field(ge=1, default=2)
    """Tolerated ratio of the odds that a prediction falls into any one bin: 2 lets a class's share grow from 10 % to
    18 %. A bin is a tenth of the champion's predictions (of a vector, its largest element's position counts)."""


def _default_steps() -> tuple[Step, ...]:
    return (Step(weight=5), Step(weight=25), Step(weight=50))


class RolloutSpec(Spec):
    """How a deployment takes a new version."""

    strategy: Strategy = Strategy.IMMEDIATE
    steps: tuple[Step, ...] = Field(min_length=1, max_length=20, default_factory=_default_steps)
    guards: Guards = Guards()
    key_header: str = Field(pattern=r"^[a-z][a-z0-9-]*$", max_length=64, default="slipway-key")
    """With `ab`: the request header that names the caller. A request without it gets the champion."""
    start_timeout_seconds: float = Field(gt=0, default=1800)
    """How long the candidate may take to start and to be examined, waiting for a worker included."""

    @model_validator(mode="after")
    def _growing(self) -> Self:
        weights = [step.weight for step in self.steps]
        if weights != sorted(weights):
            raise ValueError(f"steps: weights must not fall from one step to the next; got {weights}")
        return self


class Candidate(Spec):
    """The version that a rollout tries, beside the stable one."""

    version: int = Field(ge=1)
    revision: int = Field(ge=1)


class Split(Spec):
    """What the stable replicas do with the requests while a candidate is there; changing it restarts nothing."""

    candidate: Candidate
    strategy: Literal[Strategy.CANARY, Strategy.SHADOW, Strategy.AB]
    weight: float = Field(ge=0, le=100)
    step: int = Field(ge=0)
    """Counts are kept apart by it: within one, the share is the same for all requests."""
    key_header: str


class ArmCounts(Spec):
    """What one version did with its requests."""

    requests: int = 0
    errors: int = 0
    timed: int = 0
    """Requests that a bound for slowness was there for."""
    slow: int = 0
    seconds: float = 0
    """Sum over the requests that were answered."""
    bins: tuple[int, ...] = (0,) * NUM_BINS
    """Scores by bin; what came before the bins were fixed is in none."""


class SplitCounts(Spec):
    """What one stable replica counted in one step of a rollout, ever since the step began."""

    replica: str
    step: int
    champion: ArmCounts = ArmCounts()
    candidate: ArmCounts = ArmCounts()
    compared: int = 0
    """Outputs to the same request compared (`shadow`)."""
    differed: int = 0
    left_out: int = 0
    """Requests not mirrored because too many were on their way."""
    rescued: int = 0
    """Requests that the candidate failed and the champion then answered."""
