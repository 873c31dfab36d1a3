"""What a drill has seen: the lines of the table."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One line of the table."""

    drill: str
    what: str
    seen: str
    passed: bool


def timing(drill: str, what: str, seconds: Sequence[float]) -> Finding:
    """Tell how long it took; no bound is set, for machines differ."""
    told = f"median {statistics.median(seconds):.1f} s, worst {max(seconds):.1f} s"
    return Finding(drill, what, told, True)
