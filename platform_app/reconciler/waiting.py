"""Why dedicated jobs wait, asked of their cluster now and then."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from platform_app.domain.causes import CAUSES
from platform_app.domain.explain import explain
from platform_app.domain.job import Job
from platform_app.ports import Clock, WaitingSigns

_EVERY = timedelta(seconds=5)
"""How old an explanation may be. Asking takes some calls for each namespace in which jobs wait."""


class Waiting:
    """Explains jobs that hold capacity and are not whole yet."""

    def __init__(self, signs: WaitingSigns, clock: Clock) -> None:
        self._signs = signs
        self._clock = clock
        self._ask_at: datetime | None = None

    def forget(self) -> None:
        """Ask again at once."""
        self._ask_at = None

    def explained(self, jobs: Sequence[Job]) -> Mapping[str, str]:
        """Say why each job waits, by job id; empty text for one that nothing holds up, nothing while it is too early.

        Raises:
            TemporaryError: the cluster is away.
        """
        now = self._clock.now()
        if not jobs or (self._ask_at is not None and now < self._ask_at):
            return {}
        self._ask_at = now + _EVERY
        ids = {job.id: job.submission_id for job in jobs if job.submission_id}
        known = self._signs.of(list(ids.values()))
        explanations = {job_id: explain(known[name], CAUSES) for job_id, name in ids.items() if name in known}
        return {job_id: f"waits: {found[0].sentence}" if found else "" for job_id, found in explanations.items()}
