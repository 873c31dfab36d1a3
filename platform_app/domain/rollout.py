"""A rollout: a candidate beside the champion, from its start until it leads or is gone again.

    STARTING -> EVALUATING -> RUNNING (step by step) -> PROMOTING -> SETTLING -> SUCCEEDED
        any of these but the last -> ROLLING_BACK -> ROLLED_BACK

Pure: `advanced` says what follows from what was seen. What Serve and the registry should hold is a function of the
phase (`platform_app.launch`), so a control plane that dies in between is continued by the next from what is stored.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from functools import reduce
from operator import add

from platform_app.domain.guards import TABLES, Evidence, begun, counts_key, log_bound, weigh
from platform_app.domain.job import IllegalTransition
from platform_app.specs import Evaluation, RolloutSpec, SplitCounts, Step


class Phase(StrEnum):
    """How far a rollout is."""

    STARTING = "STARTING"
    """The candidate's replicas start, and answer the signature's example."""
    EVALUATING = "EVALUATING"
    """Candidate and champion are examined on a dataset; nobody's request goes to the candidate."""
    RUNNING = "RUNNING"
    """The candidate takes part in the traffic."""
    PROMOTING = "PROMOTING"
    """The alias moves, and the stable replicas become the new version, while the candidate carries the traffic."""
    SETTLING = "SETTLING"
    """The stable replicas carry the traffic, and the candidate's replicas may go."""
    SUCCEEDED = "SUCCEEDED"
    ROLLING_BACK = "ROLLING_BACK"
    """The candidate gets nothing any more, and the alias goes back."""
    ROLLED_BACK = "ROLLED_BACK"

    @property
    def is_over(self) -> bool:
        """True when nothing follows any more."""
        return not TRANSITIONS[self]


TRANSITIONS: dict[Phase, frozenset[Phase]] = {
    Phase.STARTING: frozenset({Phase.EVALUATING, Phase.RUNNING, Phase.ROLLING_BACK}),
    Phase.EVALUATING: frozenset({Phase.RUNNING, Phase.ROLLING_BACK}),
    Phase.RUNNING: frozenset({Phase.RUNNING, Phase.PROMOTING, Phase.ROLLING_BACK}),
    Phase.PROMOTING: frozenset({Phase.SETTLING, Phase.ROLLING_BACK}),
    Phase.SETTLING: frozenset({Phase.SUCCEEDED, Phase.ROLLING_BACK}),
    Phase.SUCCEEDED: frozenset(),
    Phase.ROLLING_BACK: frozenset({Phase.ROLLED_BACK}),
    Phase.ROLLED_BACK: frozenset(),
}


@dataclass(frozen=True)
class Examined:
    """What an examination before traffic found."""

    passed: bool
    message: str
    """With the numbers, for a person."""


@dataclass(frozen=True)
class Look:
    """What is seen of a rollout in one pass."""

    now: datetime
    stable_ready: bool = False
    """All stable replicas are what was applied last."""
    stable_failed: bool = False
    candidate_ready: bool = False
    candidate_failed: bool = False
    message: str = ""
    """Why something failed or waits."""
    examined: Examined | None = None
    """None while an examination lasts."""
    counts: tuple[SplitCounts, ...] = ()
    aliases_right: bool = False
    """The registry's aliases are what the phase wants."""


@dataclass(frozen=True)
class Rollout:
    """One try at making a version lead. Changes only by `moved` and what is built on it."""

    revision: int
    """Of the candidate."""
    candidate_version: int
    stable_version: int
    stable_revision: int
    started_at: datetime
    phase: Phase = Phase.STARTING
    is_direct: bool = False
    """The stable replicas become the version at once, with no candidate beside them: the way back."""
    step: int = 0
    step_started_at: datetime | None = None
    ended_at: datetime | None = None
    guard: str | None = None
    """Which guard rolled it back; `operator` for a person's word."""
    message: str = ""
    """For a person: the newest of what happened, with numbers."""
    evidence: tuple[Evidence, ...] = ()
    seen: dict[str, SplitCounts] = field(default_factory=dict)
    """What the evidence is made of, by `guards.counts_key`."""

    def moved(self, phase: Phase, now: datetime, message: str = "") -> "Rollout":
        """Give this rollout in the next phase.

        Raises:
            IllegalTransition: the phase cannot follow the present one.
        """
        if phase not in TRANSITIONS[self.phase]:
            raise IllegalTransition(f"rollout of revision {self.revision}: {self.phase} -> {phase}")
        return replace(self, phase=phase, message=message, ended_at=now if phase.is_over else None)

    def breached(self, guard: str, now: datetime, message: str) -> "Rollout":
        """Give this rollout on its way back, for a reason."""
        text = f"version {self.candidate_version} was rolled back by {guard}: {message}"
        return replace(self.moved(Phase.ROLLING_BACK, now, text), guard=guard)

    @property
    def exposed(self) -> int:
        """Count the requests that the candidate took."""
        return sum(counts.candidate.requests for counts in self.seen.values())

    def requests_in(self, step: int) -> int:
        """Count the requests that the candidate took in a step."""
        return sum(counts.candidate.requests for counts in self.seen.values() if counts.step == step)


def begin(revision: int, candidate_version: int, stable: tuple[int, int], spec: RolloutSpec, now: datetime) -> Rollout:
    """Give a rollout that begins; `stable` is the champion's version and revision."""
    return Rollout(
        revision=revision,
        candidate_version=candidate_version,
        stable_version=stable[0],
        stable_revision=stable[1],
        started_at=now,
        message=f"version {candidate_version} starts",
        evidence=begun(spec.guards),
    )


def advanced(rollout: Rollout, spec: RolloutSpec, look: Look) -> Rollout:
    """Give the rollout after a look at it; the same one where nothing follows."""
    return _NEXT[rollout.phase](rollout, spec, look)


def _starting(rollout: Rollout, spec: RolloutSpec, look: Look) -> Rollout:
    if look.candidate_failed:
        return rollout.breached("start", look.now, look.message)
    if not look.candidate_ready:
        return _in_time(rollout, spec, look)
    if spec.guards.evaluation:
        return rollout.moved(Phase.EVALUATING, look.now, f"examined on {spec.guards.evaluation.dataset}")
    return _in_step(rollout, spec, 0, look.now)


def _evaluating(rollout: Rollout, spec: RolloutSpec, look: Look) -> Rollout:
    if look.examined is None:
        return _in_time(rollout, spec, look)
    if not look.examined.passed:
        return rollout.breached("evaluation", look.now, look.examined.message)
    return _in_step(rollout, spec, 0, look.now, look.examined.message)


def _in_time(rollout: Rollout, spec: RolloutSpec, look: Look) -> Rollout:
    if look.now - rollout.started_at < timedelta(seconds=spec.start_timeout_seconds):
        return replace(rollout, message=look.message or rollout.message)
    message = f"not ready within {spec.start_timeout_seconds:g} s"
    return rollout.breached("start", look.now, f"{message}: {look.message}" if look.message else message)


def _running(rollout: Rollout, spec: RolloutSpec, look: Look) -> Rollout:
    rollout = _weighed(rollout, look.counts)
    bound = log_bound(spec.guards)
    for evidence in rollout.evidence:
        if evidence.log_value >= bound:
            return rollout.breached(evidence.guard, look.now, numbers(evidence, tuple(rollout.seen.values())))
    if look.candidate_failed:
        return rollout.breached("start", look.now, look.message)
    step = spec.steps[min(rollout.step, len(spec.steps) - 1)]
    if held(rollout, step, look.now) < 1:
        return rollout
    if rollout.step + 1 < len(spec.steps):
        return _in_step(rollout, spec, rollout.step + 1, look.now)
    return rollout.moved(Phase.PROMOTING, look.now, f"no guard objects after {rollout.exposed} requests")


def _weighed(rollout: Rollout, counts: Sequence[SplitCounts]) -> Rollout:
    grown = [one for one in counts if one != rollout.seen.get(counts_key(one))]
    if not grown:
        return rollout
    evidence = weigh(rollout.evidence, rollout.seen, grown)
    return replace(rollout, evidence=evidence, seen={**rollout.seen, **{counts_key(one): one for one in grown}})


def held(rollout: Rollout, step: Step, now: datetime) -> float:
    """Say how much of a step is over, from 0 to 1: of its time or of its requests, whichever is less."""
    seconds = (now - (rollout.step_started_at or now)).total_seconds()
    time = seconds / step.hold_seconds if step.hold_seconds else 1.0
    requests = rollout.requests_in(rollout.step) / step.min_requests if step.min_requests else 1.0
    return min(time, requests, 1.0)


def _in_step(rollout: Rollout, spec: RolloutSpec, step: int, now: datetime, examined: str = "") -> Rollout:
    text = f"step {step + 1} of {len(spec.steps)}: {spec.strategy} at {spec.steps[step].weight:g} %"
    message = f"{examined}; {text}" if examined else text
    return replace(rollout.moved(Phase.RUNNING, now, message), step=step, step_started_at=now)


def _promoting(rollout: Rollout, _spec: RolloutSpec, look: Look) -> Rollout:
    if look.stable_failed:
        return rollout.breached("start", look.now, look.message)
    if look.stable_ready and look.aliases_right:
        return rollout.moved(Phase.SETTLING, look.now, f"version {rollout.candidate_version} leads")
    return rollout


def _settling(rollout: Rollout, _spec: RolloutSpec, look: Look) -> Rollout:
    return rollout.moved(Phase.SUCCEEDED, look.now, rollout.message) if look.stable_ready else rollout


def _rolling_back(rollout: Rollout, _spec: RolloutSpec, look: Look) -> Rollout:
    right = look.stable_ready and look.aliases_right
    return rollout.moved(Phase.ROLLED_BACK, look.now, rollout.message) if right else rollout


def _over(rollout: Rollout, _spec: RolloutSpec, _look: Look) -> Rollout:
    return rollout


_NEXT: dict[Phase, Callable[[Rollout, RolloutSpec, Look], Rollout]] = {
    Phase.STARTING: _starting,
    Phase.EVALUATING: _evaluating,
    Phase.RUNNING: _running,
    Phase.PROMOTING: _promoting,
    Phase.SETTLING: _settling,
    Phase.SUCCEEDED: _over,
    Phase.ROLLING_BACK: _rolling_back,
    Phase.ROLLED_BACK: _over,
}


_HITS = {"error-rate": "failed", "latency": "slow", "score-drift": "scores in the bin that moved most"}


def numbers(evidence: Evidence, counts: Sequence[SplitCounts]) -> str:
    """Say in numbers what a guard has seen."""
    tables = [TABLES[evidence.guard](one) for one in counts]
    if not tables:
        return "no requests yet"
    worst = max((reduce(add, same) for same in zip(*tables, strict=True)), key=lambda table: table.excess)
    return (
        f"{_HITS[evidence.guard]}: candidate {worst.candidate_hits} of {worst.candidate}, "
        f"champion {worst.champion_hits} of {worst.champion}; e-value {_e_value(evidence.log_value)}"
    )


def _e_value(log_value: float) -> str:
    exponent = log_value / math.log(10)
    return f"{10**exponent:.3g}" if abs(exponent) < 15 else f"1e{exponent:.0f}"


@dataclass(frozen=True)
class Scores:
    """What candidate and champion scored on the evaluation's dataset."""

    candidate: float | None = None
    champion: float | None = None
    error: str = ""
    """Why there are no scores."""


def examined(evaluation: Evaluation, scores: Scores) -> Examined:
    """Judge an examination: the candidate may be worse than the champion by the margin."""
    if scores.candidate is None or scores.champion is None:
        return Examined(False, scores.error or "no scores")
    sign = 1 if evaluation.mode == "max" else -1
    # NaN compares as false, and so does not pass.
    passed = sign * (scores.candidate - scores.champion) >= -evaluation.margin
    both = f"candidate {scores.candidate:.4g}, champion {scores.champion:.4g}, margin {evaluation.margin:g}"
    return Examined(passed, f"{evaluation.metric} on {evaluation.dataset}: {both}")
