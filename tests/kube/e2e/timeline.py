"""The table that is printed as things happen: when, how long after the line before, what, and the GPU workers then."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from rich.console import Console

_LOOK_SECONDS = 0.5


@dataclass(frozen=True)
class Sight:
    """Something that is waited for."""

    look: Callable[[], str]
    """Say what is seen; an empty text while it is not."""
    of: str
    """What is waited for, for the message when it does not come."""


class Timeline:
    """Prints the lines."""

    def __init__(self, console: Console, workers: Callable[[], str]) -> None:
        """Begin now; `workers` tells of the GPU workers for each line."""
        self._console = console
        self._workers = workers
        self._begun = self._last = time.monotonic()
        self._line("AT", "TOOK", "GPU WORKERS", "WHAT", style="bold")

    @property
    def seconds(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._begun

    def tell(self, what: str) -> None:
        """Print a line of something that has just happened."""
        at, took = self.seconds, time.monotonic() - self._last
        self._last = time.monotonic()
        self._line(f"{at:.1f} s", f"{took:.1f} s", self._workers(), what)

    def until(self, *sights: Sight, seconds: float = 240.0) -> None:
        """Wait for some sights, in whatever order they come, and print a line for each.

        Raises:
            TimeoutError: one was not seen in time.
        """
        waiting, deadline = list(sights), time.monotonic() + seconds
        while waiting:
            for sight in list(waiting):
                if seen := sight.look():
                    self.tell(seen)
                    waiting.remove(sight)
            if waiting and time.monotonic() > deadline:
                raise TimeoutError(f"not seen within {seconds:g} s: {'; '.join(sight.of for sight in waiting)}")
            time.sleep(_LOOK_SECONDS)

    def _line(self, at: str, took: str, workers: str, what: str, style: str = "") -> None:
        self._console.print(f"{at:>8} {took:>8}  {workers:<22}  {what}", style=style, markup=False, highlight=False)
