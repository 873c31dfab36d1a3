"""A figure beside its peer's, taken in the same run."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

COLUMNS = ("PART", "WHAT", "OURS", "PEER", "RATIO (SPREAD)", "GOAL")
"""What `Figure.row` gives."""


@dataclass(frozen=True)
class Figure:
    """One line of the table: rounds of ours and of the peer, in turn on the same machine."""

    part: str
    what: str
    unit: str
    ours: Sequence[float]
    """One number for each round."""
    peer: Sequence[float]
    """One number for each round, taken beside ours."""
    goal: float
    at_least: bool
    """The ratio should be no less than the goal; otherwise no more."""

    @property
    def ratios(self) -> list[float]:
        """Ours over the peer's, round by round: what slows the machine for a while is in both."""
        return [ours / peer for ours, peer in zip(self.ours, self.peer, strict=True)]

    @property
    def ratio(self) -> float:
        """The median of all rounds."""
        return statistics.median(self.ratios)

    @property
    def is_met(self) -> bool:
        """Whether the ratio is as good as the goal."""
        return self.ratio >= self.goal if self.at_least else self.ratio <= self.goal

    def row(self) -> tuple[str, ...]:
        """Give part, what, ours, peer, ratio with its spread, and goal, for people."""
        spread = f"{min(self.ratios):.3f} to {max(self.ratios):.3f}" if len(self.ratios) > 1 else "one round"
        told = "[green]met[/]" if self.is_met else "[red]missed[/]"
        ours, peer = (f"{statistics.median(numbers):.4g} {self.unit}" for numbers in (self.ours, self.peer))
        goal = f"{'≥' if self.at_least else '≤'} {self.goal:g} {told}"
        return self.part, self.what, ours, peer, f"{self.ratio:.3f} ({spread})", goal

    def plain(self) -> dict[str, Any]:
        """Give it for the file of figures."""
        return asdict(self) | {"ratios": self.ratios, "ratio": self.ratio, "is_met": self.is_met}
