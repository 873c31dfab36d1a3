"""Commands that take more GPUs than they declared, looked for now and then."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from platform_app.domain.job import Event, Job, JobState, Reason
from platform_app.domain.overuse import overuse
from platform_app.ports import Clock, HeldGpus, JobStore, TeamStore
from platform_app.reconciler.isolation import isolated
from platform_app.specs import CommandSpec, Overuse

_EVERY = timedelta(seconds=2)
"""How often Ray is asked. It is told of ended tasks a second late, so that only what is seen twice counts."""
WARNED = "overuse"
"""Kind of the event that says so."""


class OveruseWatch:
    """Compares what running commands hold with what they declared, and does as their team has it."""

    def __init__(self, held: HeldGpus, store: JobStore, teams: TeamStore, clock: Clock) -> None:
        self._held = held
        self._store = store
        self._teams = teams
        self._clock = clock
        self._ask_at: datetime | None = None
        self._suspects: frozenset[str] = frozenset()
        """Attempts that held too much when they were last looked at, by submission id."""
        self._told: frozenset[str] = frozenset()
        """Attempts whose events say so already."""

    def forget(self) -> None:
        """Ask again at once, and take what is seen then for seen once."""
        self._ask_at, self._suspects = None, frozenset()

    def look(self, jobs: Sequence[Job]) -> None:
        """Look at the commands among these jobs that run; nothing happens while it is too early.

        Raises:
            TemporaryError: Ray or the store is away.
        """
        now = self._clock.now()
        running = {
            job.submission_id: (job, job.spec)
            for job in jobs
            if isinstance(job.spec, CommandSpec) and job.state is JobState.RUNNING and job.submission_id
        }
        if not running or (self._ask_at is not None and now < self._ask_at):
            return
        self._ask_at = now + _EVERY
        held = self._held.of(list(running))
        excess = {name: overuse(spec, held.get(name, 0.0)) for name, (_, spec) in running.items()}
        found = {name: sentence for name, sentence in excess.items() if sentence}
        certain = {name: sentence for name, sentence in found.items() if name in self._suspects}
        self._suspects, self._told = frozenset(found), self._told & running.keys()
        if certain:
            self._act({running[name][0].id: running[name][0] for name in certain}, certain)

    def _act(self, jobs: Mapping[str, Job], sentences: Mapping[str, str]) -> None:
        policies = {team.name: team.quota.overuse for team in self._teams.teams()}
        for job in jobs.values():
            with isolated(job.id):
                sentence = sentences[job.submission_id or ""]
                if policies.get(job.team) is Overuse.STOP:
                    self._stop(job, sentence)
                else:
                    self._warn(job, sentence)

    def _stop(self, job: Job, sentence: str) -> None:
        now, message = self._clock.now(), f"stopped, for {sentence}"
        stopping = job.stopped_for(Reason.MORE_THAN_DECLARED, now, message)
        self._store.save(stopping, [Event(now, WARNED, message)])

    def _warn(self, job: Job, sentence: str) -> None:
        """Say so once for each attempt, whoever looks: another control plane may have said it before."""
        name = job.submission_id or ""
        if name in self._told:
            return
        begins = f"attempt {len(job.attempts)}: "
        if not any(event.kind == WARNED and event.message.startswith(begins) for event in self._store.events(job.id)):
            self._store.save(job, [Event(self._clock.now(), WARNED, f"{begins}{sentence}")])
        self._told |= {name}
