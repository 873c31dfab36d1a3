"""Is the candidate worse than the champion? Answered at every look, without looking ever being a mistake.

Each question is asked of *windows*: what one stable replica counted between two looks, as a table of two rows
(candidate, champion) and two columns (a hit, such as a failed request, or none). The replica draws by chance who
answers a request. So, were both versions alike, which of a window's hits fell to the candidate would be chance too:
given the totals, their number follows Fisher's noncentral hypergeometric law, with the odds ratio 1, or at most the
tolerated one. That is exact for any traffic, however it changes from window to window, for the law is conditional on
the window's own totals.

The evidence of a window is a likelihood ratio: the law with a greater odds ratio against that with the tolerated one.
Its expectation is at most 1 for every odds ratio up to the tolerated one (the ratio grows with the hits, and the law
is monotone in the odds ratio). The product over windows is therefore a nonnegative supermartingale, and by Ville's
inequality the chance that it *ever* reaches 1/alpha is at most alpha: one may look after every window and stop
whenever one likes. A mean of such products over several greater odds ratios, and over the bins of a histogram, is one
again. Several guards share the rollout's false-alarm rate evenly (Bonferroni).

Assumed: requests fall to the versions by chance (with `ab`: keys do), and do not change each other's outcome. The
second is only nearly true, for a pause of one process slows all that it has in work. So the evidence of one window is
cut at `CAP` (which keeps the guarantee): no single moment can condemn a candidate. It is cut higher at what a pause
does not move: predictions. The tolerance covers small real differences.

Sources: Robbins, *Statistical methods related to the law of the iterated logarithm* (1970), for the mixture; Turner,
Ly, Gruenwald, *Generic E-variables for exact sequential k-sample tests that allow for optional stopping* (2024), for
tables; Ramdas, Gruenwald, Vovk, Shafer, *Game-theoretic statistics and safe anytime-valid inference* (2023), for the
rest.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain

from platform_app.specs import NUM_BINS, ArmCounts, Guards, SplitCounts

CAP = math.log(10)
"""The most that one window may say, as a logarithm."""
DRIFT_CAP = math.log(100)
"""The same of predictions: a class that takes over is found after 3 looks in place of 5."""
_STEEPER = (1.5, 4.0, 32.0)
"""Odds ratios tried, as multiples of the tolerated one: slightly, clearly and hopelessly worse."""


@dataclass(frozen=True)
class Table:
    """A window's counts for one question."""

    candidate: int
    """Requests of the candidate."""
    candidate_hits: int
    champion: int
    champion_hits: int

    def __add__(self, other: "Table") -> "Table":
        """Give both counts as one."""
        return Table(
            self.candidate + other.candidate,
            self.candidate_hits + other.candidate_hits,
            self.champion + other.champion,
            self.champion_hits + other.champion_hits,
        )

    @property
    def excess(self) -> float:
        """The candidate's share of hits less the champion's."""
        return self.candidate_hits / max(self.candidate, 1) - self.champion_hits / max(self.champion, 1)

    def __sub__(self, before: "Table") -> "Table":
        """Give what came after an earlier count."""
        return Table(
            self.candidate - before.candidate,
            self.candidate_hits - before.candidate_hits,
            self.champion - before.champion,
            self.champion_hits - before.champion_hits,
        )


NOTHING = Table(0, 0, 0, 0)


def _errors(counts: SplitCounts) -> tuple[Table, ...]:
    return (_table(counts, lambda arm: (arm.requests, arm.errors)),)


def _slow(counts: SplitCounts) -> tuple[Table, ...]:
    return (_table(counts, lambda arm: (arm.timed, arm.slow)),)


def _drift(counts: SplitCounts) -> tuple[Table, ...]:
    """Ask of each bin whether it has too much, and whether it has too little: whether all others have too much."""
    inside = (_table(counts, lambda arm, one=one: (sum(arm.bins), arm.bins[one])) for one in range(NUM_BINS))  # type: ignore[misc]
    both = ((table, replace(table, **_outside(table))) for table in inside)
    return tuple(chain.from_iterable(both))


def _outside(table: Table) -> dict[str, int]:
    return {
        "candidate_hits": table.candidate - table.candidate_hits,
        "champion_hits": table.champion - table.champion_hits,
    }


def _table(counts: SplitCounts, read: Callable[[ArmCounts], tuple[int, int]]) -> Table:
    return Table(*read(counts.candidate), *read(counts.champion))


TABLES: dict[str, Callable[[SplitCounts], tuple[Table, ...]]] = {
    "error-rate": _errors,
    "latency": _slow,
    "score-drift": _drift,
}
"""What each guard asks, by its name."""
CAPS = {"error-rate": CAP, "latency": CAP, "score-drift": DRIFT_CAP}
"""The most that one window may say to each guard, by its name."""


@dataclass(frozen=True)
class Evidence:
    """What one guard has against the candidate so far."""

    guard: str
    tolerance: float
    """Odds ratio, candidate to champion, that is still all right."""
    logs: tuple[float, ...] = ()
    """Logarithms of the products, one for each question and steeper odds ratio."""

    @property
    def log_value(self) -> float:
        """The logarithm of the e-value: 0 says nothing, `log_bound` condemns."""
        if not self.logs:
            return 0.0
        most = max(self.logs)
        return most + math.log(sum(math.exp(one - most) for one in self.logs) / len(self.logs))

    def after(self, windows: Iterable[Sequence[Table]]) -> "Evidence":
        """Give the evidence with further windows, each with a table for every question of the guard."""
        logs, cap = self.logs, CAPS[self.guard]
        for tables in windows:
            said = [said for table in tables for said in window_evidence(table, self.tolerance, cap)]
            logs = tuple(a + b for a, b in zip(logs or (0.0,) * len(said), said, strict=True))
        return replace(self, logs=logs)


def begun(guards: Guards) -> tuple[Evidence, ...]:
    """Give the guards that a rollout has, before any traffic."""
    tolerances = {"error-rate": guards.error_rate, "latency": guards.latency, "score-drift": guards.score_drift}
    return tuple(Evidence(name, tolerance) for name, tolerance in tolerances.items() if tolerance is not None)


def log_bound(guards: Guards) -> float:
    """Give the logarithm of the e-value at which a guard rolls back."""
    return math.log(max(1, len(begun(guards))) / guards.false_alarm_rate)


def weigh(
    evidence: Sequence[Evidence], before: Mapping[str, SplitCounts], now: Iterable[SplitCounts]
) -> tuple[Evidence, ...]:
    """Give the evidence after another look.

    Args:
        evidence: as of the look before.
        before: what was counted then, by `counts_key`.
        now: what is counted now; what a replica of before does not tell any more is left as it was.
    """
    grown = [(before.get(counts_key(counts)), counts) for counts in now]
    return tuple(one.after(_windows(TABLES[one.guard], grown)) for one in evidence)


def counts_key(counts: SplitCounts) -> str:
    """Name one replica's step: counts of the same name are of the same window's beginning."""
    return f"{counts.replica}/{counts.step}"


def _windows(
    tables: Callable[[SplitCounts], tuple[Table, ...]], grown: Iterable[tuple[SplitCounts | None, SplitCounts]]
) -> Iterable[Sequence[Table]]:
    for before, now in grown:
        earlier = tables(before) if before else (NOTHING,) * 2 * NUM_BINS
        yield [new - old for new, old in zip(tables(now), earlier, strict=False)]


@lru_cache(maxsize=4096)
def window_evidence(table: Table, tolerance: float, cap: float) -> tuple[float, ...]:
    """Give a window's evidence against the candidate, as logarithms, one for each steeper odds ratio.

    Args:
        table: the window's counts.
        tolerance: the odds ratio that is still all right.
        cap: the most that it may say.
    """
    hits = table.candidate_hits + table.champion_hits
    if hits == 0 or hits == table.candidate + table.champion or not table.candidate or not table.champion:
        return (0.0,) * len(_STEEPER)  # the totals say it all: nothing is left to chance
    steeper = [tolerance * factor for factor in _STEEPER]
    weights = _log_counts(table, hits)
    base = _log_likelihood(table.candidate_hits, weights, tolerance)
    return tuple(min(cap, _log_likelihood(table.candidate_hits, weights, odds) - base) for odds in steeper)


def _log_counts(table: Table, hits: int) -> dict[int, float]:
    """Count the ways in which so many of the hits can be the candidate's, as logarithms."""
    possible = range(max(0, hits - table.champion), min(hits, table.candidate) + 1)
    return {
        number: _log_binomial(table.candidate, number) + _log_binomial(table.champion, hits - number)
        for number in possible
    }


def _log_likelihood(number: int, weights: Mapping[int, float], odds: float) -> float:
    tilted = {one: weight + one * math.log(odds) for one, weight in weights.items()}
    most = max(tilted.values())
    return tilted[number] - most - math.log(sum(math.exp(one - most) for one in tilted.values()))


def _log_binomial(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
