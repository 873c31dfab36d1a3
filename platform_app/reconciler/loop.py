"""The reconciler: the only one that acts on the world, and only while it holds the lease."""

import logging
import threading
from collections.abc import Callable
from datetime import datetime, timedelta

from platform_app.errors import TemporaryError
from platform_app.ports import Clock, Lease
from platform_app.reconciler.deployments import DeploymentPass
from platform_app.reconciler.jobs import JobPass

_log = logging.getLogger(__name__)

_LEASE = timedelta(seconds=15)
"""How long a reconciler that has died keeps its successor waiting."""
_RENEW_AFTER = timedelta(seconds=5)
_LONGEST_PAUSE = 10.0
"""Seconds between attempts while the database is away."""


class Reconciler:
    """Observe, decide, act, record: one pass with each tick."""

    def __init__(self, jobs: JobPass, deployments: DeploymentPass, lease: Lease, holder: str, clock: Clock) -> None:
        """Put the passes together.

        Args:
            jobs: the pass over the jobs.
            deployments: the pass over the deployments.
            lease: the right to act.
            holder: names this process among all that may ever ask for the lease.
            clock: the time.
        """
        self._jobs = jobs
        self._deployments = deployments
        self._lease = lease
        self._holder = holder
        self._clock = clock
        self._renew_at: datetime | None = None
        """None while the lease is someone else's."""

    def tick(self) -> None:
        """Make one pass, where this process may act. A system that is away does not hold back work with the others.

        Raises:
            TemporaryError: the database is away, so that nothing can be known or done.
        """
        if not self._may_act():
            return
        self._pass("jobs", self._jobs.run)
        self._pass("deployments", self._deployments.run)

    def run_forever(self, stop: threading.Event, interval: float = 1.0) -> None:
        """Tick until told to stop, then hand the lease over.

        Args:
            stop: ends the loop.
            interval: seconds between passes.
        """
        pause = interval
        while not stop.is_set():
            try:
                self.tick()
                pause = interval
            except Exception as error:
                pause = min(pause * 2, _LONGEST_PAUSE)
                _log.warning(
                    "the next pass is in %.0f s: %s", pause, error, exc_info=not isinstance(error, TemporaryError)
                )
            stop.wait(pause)
        try:
            self.release()
        except TemporaryError as error:
            _log.warning("the lease was not handed over, it runs out by itself: %s", error)

    def release(self) -> None:
        """Let the next reconciler begin at once. Raises TemporaryError where the database is away."""
        if self._renew_at is not None:
            self._renew_at = None
            self._lease.acquire(self._holder, self._clock.now(), timedelta())

    def _pass(self, name: str, run: Callable[[Callable[[], bool]], None]) -> None:
        try:
            run(self._may_act)
        except TemporaryError as error:
            _log.warning("the pass over the %s is left out: %s", name, error)

    def _may_act(self) -> bool:
        """Say whether the lease is ours, renewing it in good time; asked again within long passes."""
        now, renew_at = self._clock.now(), self._renew_at
        # Before the last renewal is when a clock was set back: by another's clock the lease may have run out.
        is_set_back = renew_at is not None and now < renew_at - _RENEW_AFTER
        if renew_at is not None and now < renew_at and not is_set_back:
            return True
        self._renew_at = None
        if not self._lease.acquire(self._holder, now, _LEASE):
            return False
        if renew_at is None or is_set_back:
            self._jobs.forget()
            self._deployments.forget()
        self._renew_at = now + _RENEW_AFTER
        return True
