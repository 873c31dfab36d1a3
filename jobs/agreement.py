"""All workers of a run save, or leave, after the same step: what one of them wishes, all do.

They ask each other a few times a second, and never more than once a step. The first of them says after how many steps
they ask again, so that a run of short steps does not pay for it at each.
"""

import time
from collections.abc import Callable
from enum import IntEnum

from jobs.seat import Seat
from platform_app.specs import Checkpointing

INTERVAL_SECONDS = 0.2
"""Between two times that the workers ask each other."""


class Wish(IntEnum):
    """What is to be done after a step; of several wishes the greatest comes true."""

    NOTHING = 0
    SAVE = 1
    LEAVE = 2


class Agreement:
    """The common decision of a run's workers."""

    def __init__(
        self,
        seat: Seat,
        checkpointing: Checkpointing,
        wish: Callable[[], Wish],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._seat = seat
        self._checkpointing = checkpointing
        self._wish = wish
        self._clock = clock
        self._asked_at = self._saved_at = clock()
        self._steps_between = self._steps_left = 1

    def at(self, step: int) -> Wish:
        """Decide what is to be done after a step; every worker calls it after every step."""
        every = self._checkpointing.every_steps
        decided = Wish.SAVE if every and step % every == 0 else Wish.NOTHING
        self._steps_left -= 1
        if self._steps_left == 0:
            decided = max(decided, self._ask())
        if decided:
            self._saved_at = self._clock()
        return decided

    def begins(self) -> None:
        """Learn that what comes now takes another time than what was: steps, or an evaluation's."""
        self._asked_at = self._clock()
        self._steps_between = self._steps_left = 1

    def is_leaving(self) -> bool:
        """Decide whether to leave in the middle of an evaluation; every worker calls it after every batch."""
        self._steps_left -= 1
        return self._steps_left == 0 and self._ask() is Wish.LEAVE

    def _ask(self) -> Wish:
        now, wish = self._clock(), self._wish()
        seconds = self._checkpointing.every_seconds
        if seconds is not None and now - self._saved_at >= seconds:
            wish = max(wish, Wish.SAVE)
        step_seconds = max((now - self._asked_at) / self._steps_between, 1e-6)
        steps = max(1, int(INTERVAL_SECONDS / step_seconds)) if self._seat.rank == 0 else 0
        # At most twice as many as before: the first steps of a run say little of the others.
        decided, steps = map(int, self._seat.max([wish, min(steps, 2 * self._steps_between)]))
        self._asked_at, self._steps_between, self._steps_left = now, steps, steps
        return Wish(decided)
