"""What replicas count during a rollout, and the one actor that keeps it where the platform can read it.

A replica counts from a step's beginning and tells its totals again and again, so that nothing is lost or counted twice
when a message is, or the actor, or the platform: whoever starts again is told the same totals.
"""

import logging
import uuid
from bisect import bisect
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from platform_app.specs import NUM_BINS, ArmCounts, SplitCounts

_log = logging.getLogger("ray.serve")

ACTOR_NAME = "slipway-tallies"
ACTOR_NAMESPACE = "slipway"

_ENOUGH = 50
"""Predictions of the champion before there is a bound for slowness, and before the bins are fixed."""
_REMEMBERED = 500
"""Newest predictions of the champion that the bound is made of."""


class Reference:
    """What the champion does, as one replica sees it: how long it takes, and what it predicts."""

    def __init__(self) -> None:
        self._seconds: deque[float] = deque(maxlen=_REMEMBERED)
        self._scores: list[float] = []
        self._edges: list[float] | None = None
        self.slow: float | None = None
        """Seconds: the champion's 95th percentile as of the newest `refresh`; None while too little is known."""

    def saw(self, seconds: float, score: float | None) -> None:
        """Learn from an answer of the champion."""
        self._seconds.append(seconds)
        if self._edges is None and score is not None:
            self._scores.append(score)
            if len(self._scores) >= _ENOUGH:
                self._edges = _tenths(self._scores)

    def refresh(self) -> None:
        """Renew the bound. Between two of them it stands still, so that nothing moves it that it will judge."""
        if len(self._seconds) >= _ENOUGH:
            self.slow = sorted(self._seconds)[int(0.95 * len(self._seconds))]

    def bin_of(self, score: float | None) -> int | None:
        """Give the bin of a score; None where it has none, or the bins are not fixed yet."""
        return None if score is None or self._edges is None else bisect(self._edges, score)


def _tenths(scores: Sequence[float]) -> list[float]:
    """Give the edges between bins: what is predicted often (a class) has a bin of its own."""
    ordered = sorted(scores)
    return sorted({ordered[len(ordered) * tenth // NUM_BINS] for tenth in range(1, NUM_BINS)})


@dataclass
class Arm:
    """One version's counts, as they grow."""

    requests: int = 0
    errors: int = 0
    timed: int = 0
    slow: int = 0
    seconds: float = 0.0
    bins: list[int] = field(default_factory=lambda: [0] * NUM_BINS)

    def add(self, reference: Reference, seconds: float, score: float | None, is_error: bool) -> None:
        """Count a request."""
        self.requests += 1
        self.errors += is_error
        self.seconds += seconds
        if reference.slow is not None and not is_error:
            self.timed += 1
            self.slow += seconds > reference.slow
        if (found := reference.bin_of(score)) is not None:
            self.bins[found] += 1


@dataclass
class Tally:
    """What one replica counts in one step."""

    step: int
    champion: Arm = field(default_factory=Arm)
    candidate: Arm = field(default_factory=Arm)
    compared: int = 0
    differed: int = 0
    left_out: int = 0
    rescued: int = 0

    def told(self, replica: str) -> SplitCounts:
        """Give the counts as they are now."""
        arms = {name: ArmCounts(**vars(getattr(self, name))) for name in ("champion", "candidate")}
        return SplitCounts(**{**vars(self), **arms}, replica=replica)


class Tallies:
    """The actor: by deployment, the newest totals of each replica's steps in the newest rollout."""

    def __init__(self) -> None:
        self._told: dict[str, tuple[int, dict[tuple[str, int], str]]] = {}

    def put(self, deployment: str, revision: int, told: Iterable[tuple[str, int, str]]) -> None:
        """Take totals: of each, the replica, the step and the `SplitCounts` as JSON. Older rollouts are forgotten."""
        known, totals = self._told.get(deployment, (0, {}))
        if revision < known:
            return
        if revision > known:
            totals = {}
        totals.update({(replica, step): counts for replica, step, counts in told})
        self._told[deployment] = (revision, totals)

    def get(self, deployment: str, revision: int) -> list[str]:
        """Give the totals told in a rollout, each as JSON."""
        known, totals = self._told.get(deployment, (0, {}))
        return list(totals.values()) if known == revision else []


def tallies_actor() -> Any:
    """Find the actor, or start it; it is one for the whole cluster, and is started again where it died."""
    import ray

    options: dict[str, Any] = {"name": ACTOR_NAME, "namespace": ACTOR_NAMESPACE, "get_if_exists": True}
    return (
        ray.remote(Tallies)
        .options(**options, lifetime="detached", num_cpus=0, max_restarts=-1, max_task_retries=0)
        .remote()
    )


def reporter(deployment: str) -> Callable[[int, Iterable[Tally]], None]:
    """Give a function that tells the actor a rollout's totals and does not wait; what is lost is told again."""
    replica = uuid.uuid4().hex  # a replica that starts again counts from 0, as another

    def report(revision: int, tallies: Iterable[Tally]) -> None:
        told = [(replica, tally.step, tally.told(replica).model_dump_json()) for tally in tallies]
        try:
            tallies_actor().put.remote(deployment, revision, told)
        except Exception:
            _log.warning("%s could not tell its counts, and tells them again", deployment, exc_info=True)

    return report
