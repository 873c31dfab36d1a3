"""One pass over the queue: who starts, who makes room, how many workers elastic runs have, and what teams have used."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from platform_app.domain.admission import Decision, decide
from platform_app.domain.capacity import Placement, is_elastic, price_per_hour, size
from platform_app.domain.elastic import enlarged, grants, parted
from platform_app.domain.holdings import NO_QUOTA, Taken, holdings
from platform_app.domain.job import Event, Job, JobState
from platform_app.domain.order import Standing, decayed, standings
from platform_app.domain.serving import served
from platform_app.domain.team import Team
from platform_app.ports import Clock, DeploymentStore, JobStore, Storage, TeamStore
from platform_app.reconciler.isolation import isolated
from platform_app.specs import Catalog, Grant, SweepSpec

_MESSAGES_PER_PASS = 100
"""Waiting jobs whose message is refreshed in one pass; a long queue must not fill the pass with writes."""
_REST = timedelta(minutes=1)
"""How long an elastic run keeps its size before it grows again: each resize costs it some seconds."""
_ACCOUNT_EVERY = timedelta(seconds=10)
_ACCOUNT_AT_MOST = timedelta(minutes=10)
"""What a clock that jumps can add to what teams have used."""


class QueuePass:
    """Brings the queue and what runs together. Everything it does may be done twice."""

    def __init__(
        self,
        store: JobStore,
        deployments: DeploymentStore,
        teams: TeamStore,
        storage: Storage,
        catalog: Catalog,
        clock: Clock,
    ) -> None:
        self._store = store
        self._deployments = deployments
        self._teams = teams
        self._storage = storage
        self._catalog = catalog
        self._clock = clock
        self._grow_after: dict[str, datetime] = {}
        """When an elastic run may grow again, by job id."""

    def forget(self) -> None:
        """Let every elastic run grow at once."""
        self._grow_after.clear()

    def run(
        self, queue: Sequence[Job], held: Sequence[Job], may_act: Callable[[], bool], submit: Callable[[Job], None]
    ) -> None:
        """Make one pass.

        Args:
            queue: jobs that wait, where their cluster can be reached.
            held: all jobs that hold capacity.
            may_act: asked before each act; the pass ends when it says no.
            submit: starts an attempt that was saved.

        Raises:
            TemporaryError: the store is away.
        """
        teams, sizes = self._teams.teams(), self._sizes(held)
        serving = served(self._deployments.list(), self._catalog).values()
        beside = tuple(share for placement in serving for share in placement)
        self._account(teams, held, sizes)
        standing = standings(teams, self._clock.now())
        tiers = {tier.name for tier in self._catalog.tiers}
        known = [job for job in queue if job.spec.tier in tiers]
        refreshed = 0
        for decision in decide(known, held, self._catalog, sizes, standing, self._clock.now(), beside):
            if not may_act():
                return
            for victim in decision.victims:
                with isolated(victim.id):
                    self._preempt(victim, decision.job)
            with isolated(decision.job.id):
                if decision.placement:
                    submit(self._admit(decision))
                elif decision.message != decision.job.message and refreshed < _MESSAGES_PER_PASS:
                    refreshed += 1
                    self._tell(decision.job, decision.message)
        for job in (job for job in queue if job.spec.tier not in tiers):
            with isolated(job.id):
                self._tell(job, f"waits: the catalog has no tier {job.spec.tier!r} any more")
        self._resize(known, held, standing, sizes, beside, may_act)

    def _admit(self, decision: Decision) -> Job:
        """Save the attempt, before it is started: a platform that dies in between starts it when it is back."""
        placement = decision.placement or ()
        where = ", ".join(f"{share.training_workers} on {share.group}" for share in placement)
        granted = size(placement) if is_elastic(decision.job.spec) else None
        admitted = decision.job.admitted(self._clock.now(), granted, placement)
        return self._save(admitted, f"attempt {len(admitted.attempts)} is started: {where}")

    def _preempt(self, victim: Job, job: Job) -> None:
        """Save that an attempt is to go; the pass over the jobs has it go."""
        # The id alone, to ask an admin about: no team learns what another has.
        told = f"makes room for {job.id} ({job.spec.tier})"
        self._save(replace(victim.preempted(job.id), message=told), f"attempt {len(victim.attempts)} {told}")

    def _sizes(self, held: Sequence[Job]) -> dict[str, int]:
        """Read on how many workers elastic runs are now, and how many sweeps may use yet.

        A run that shrinks holds what it had until it has shrunk.
        """
        changing = [job for job in held if is_elastic(job.spec) or isinstance(job.spec, SweepSpec)]
        reports = {job.id: self._storage.report(job.id, len(job.attempts)) for job in changing}
        return {job_id: report.num_workers or 0 for job_id, report in reports.items() if report}

    def _resize(
        self,
        queue: Sequence[Job],
        held: Sequence[Job],
        standing: dict[str, Standing],
        sizes: dict[str, int],
        beside: Placement,
        may_act: Callable[[], bool],
    ) -> None:
        """Tell elastic runs how many workers they may have now. The run follows; only then is the room given away."""
        quotas = {name: team.quota for name, team in standing.items()}
        staying = [job for job in held if not job.is_leaving]
        leaving = {job.place for job in held if job.is_leaving}
        wanted = grants(staying, queue, self._catalog, sizes, quotas, beside)
        placed, now = holdings(held, self._catalog, sizes, beside), self._clock.now()
        taken = Taken.beside(beside, self._catalog)
        for job in held:
            taken.add(job, placed[job.id])
        for job in (job for job in staying if job.id in wanted and job.state is JobState.RUNNING):
            had = (job.attempt.granted_workers if job.attempt else None) or 0
            # Room that is being made is for whom it is made.
            keeps, rest = parted(placed[job.id], wanted[job.id])
            grows = size(wanted[job.id]) > had and now >= self._grow_after.get(job.id, now) and job.place not in leaving
            if not may_act():
                return
            with isolated(job.id):
                if size(keeps) < had:
                    # What it is to give up it holds, last of all, until it has followed.
                    job = self._grant(job, job.granted(size(keeps), (*keeps, *rest)), had)
                elif grows:
                    its = quotas.get(job.team, NO_QUOTA)
                    placement = enlarged(job, placed[job.id], wanted[job.id], taken, its)
                    if size(placement) > had:
                        taken.add(job, placement[len(placed[job.id]) :])
                        job = self._grant(job, job.granted(size(placement), placement), had)
                # Each pass, for the one that saved the number may have died before it wrote it here.
                self._storage.grant(job.id, grant_of(job))

    def _grant(self, before: Job, job: Job, had: int) -> Job:
        self._grow_after[before.id] = self._clock.now() + _REST
        number = job.attempt.granted_workers if job.attempt else None
        return self._save(job, f"may have {number} workers instead of {had}")

    def _account(self, teams: Sequence[Team], held: Sequence[Job], sizes: dict[str, int]) -> None:
        """Add what teams hold to what they have used, now and then."""
        now = self._clock.now()
        rates: dict[str, float] = {}
        placed = holdings(held, self._catalog, sizes)
        for job in held:
            rates[job.team] = rates.get(job.team, 0.0) + price_per_hour(placed[job.id], self._catalog)
        for team in teams:
            since = now - (team.used_at or now)
            is_due = timedelta() <= since < _ACCOUNT_EVERY and team.used_at is not None
            if is_due or not (rates.get(team.name) or team.used):
                continue
            hours = min(max(since, timedelta()), _ACCOUNT_AT_MOST) / timedelta(hours=1)
            used = decayed(team.used, since) + rates.get(team.name, 0.0) * hours
            self._teams.account(team.name, used, now)

    def _tell(self, job: Job, message: str) -> None:
        """Write why a job waits, where that is news."""
        if job.message != message:
            self._store.save(replace(job, message=message))

    def _save(self, job: Job, message: str) -> Job:
        return self._store.save(job, [Event(self._clock.now(), job.state, message)])


def grant_of(job: Job) -> Grant:
    """Say what a job's attempt is told: how many workers it may have, and which attempt is to leave, or has left."""
    granted = job.attempt.granted_workers if job.attempt else None
    leave = max((attempt.number for attempt in job.attempts if attempt.preempted_for), default=0)
    return Grant(num_workers=granted or job.spec.resources.max_workers, leave=leave)
