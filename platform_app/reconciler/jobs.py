"""One pass over the jobs: admit, submit, follow, stop."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from platform_app.dedicated import attempt_request
from platform_app.domain.admission import Decision, decide
from platform_app.domain.capacity import is_elastic, size
from platform_app.domain.elastic import grants
from platform_app.domain.job import Event, Job, JobState, Reason
from platform_app.errors import PermanentError, TemporaryError
from platform_app.launch import LaunchContext, packages
from platform_app.ports import Clock, JobRunner, JobStore, RayJobObservation, RayJobStatus, Storage, WaitingSigns
from platform_app.reconciler.isolation import isolated
from platform_app.reconciler.overuse import OveruseWatch
from platform_app.reconciler.verdict import Ending, Step, ending, evicted, lost, step, told
from platform_app.reconciler.waiting import Waiting
from platform_app.specs import AttemptReport, Catalog, ClusterChoice, Grant, SweepSpec

_log = logging.getLogger(__name__)

_TAIL_LINES = 40
_MESSAGES_PER_PASS = 100
"""Waiting jobs whose message is refreshed in one pass; a long queue must not fill the pass with writes."""
_REST = timedelta(minutes=1)
"""How long an elastic run keeps its size before it grows again: each resize costs it some seconds."""
_SUBMIT_AGAIN = timedelta(seconds=5)
"""How long a submission that did not go through rests: a quota or a permission is not mended within a pass."""
_LOOK_AGAIN = timedelta(seconds=5)
"""How long Kubernetes is left alone after it did not answer: everyone waits out each of its timeouts."""
_LOG_PATIENCE = timedelta(minutes=1)
"""How long an ended attempt waits for its log and report to be readable before it is recorded without them."""


class JobPass:
    """Brings what runs nearer to what is wanted. Everything it does may be done twice."""

    def __init__(
        self,
        store: JobStore,
        runners: Mapping[ClusterChoice, JobRunner],
        storage: Storage,
        catalog: Catalog,
        context: LaunchContext,
        clock: Clock,
        signs: WaitingSigns | None = None,
        overuse: OveruseWatch | None = None,
    ) -> None:
        self._store = store
        self._runners = runners
        self._storage = storage
        self._catalog = catalog
        self._context = context
        self._clock = clock
        self._grow_after: dict[str, datetime] = {}
        """When an elastic run may grow again, by job id."""
        self._unread_since: dict[str, datetime] = {}
        """Ended attempts whose log or report could not be read, by submission id."""
        self._submit_after: dict[str, datetime] = {}
        """When a submission that did not go through is tried again, by job id."""
        self._away: dict[ClusterChoice, tuple[datetime, str]] = {}
        """Runners that did not answer: when they are asked again, and why."""
        self._waiting = Waiting(signs, clock) if signs else None
        self._overuse = overuse

    def run(self, may_act: Callable[[], bool]) -> None:
        """Make one pass.

        Args:
            may_act: asked before each act; the pass ends when it says no.

        Raises:
            TemporaryError: the store is away.
        """
        # The store is read first: what it says is running was submitted before the runner is asked.
        live = self._store.live()
        seen, away = self._observed()
        held = [job for job in live if job.state.holds_capacity]
        for job in live:
            if not may_act():
                return
            with isolated(job.id):
                if job.spec.cluster in away:
                    if job.spec.cluster is ClusterChoice.DEDICATED:
                        self._tell(job, f"waits: {away[job.spec.cluster]}")
                elif job.state.holds_capacity:
                    self._follow(job, seen[job.spec.cluster].get(job.submission_id or ""))
        for place in dict.fromkeys(_place(job) for job in live if job.spec.cluster not in away):
            there = [job for job in live if _place(job) == place]
            running = [job for job in there if job.state.holds_capacity]
            queue = [job for job in there if job.state is JobState.QUEUED]
            self._admit(queue, running, may_act)
            self._resize(queue, running, may_act)
        if self._overuse:
            with isolated("what commands hold"):
                self._overuse.look([job for job in held if job.spec.cluster not in away])
        self._stop_strays({job.submission_id for job in held}, seen)
        self._explain([job for job in held if job.spec.cluster not in away])

    def _observed(self) -> tuple[dict[ClusterChoice, Mapping[str, RayJobObservation]], dict[ClusterChoice, str]]:
        """Give what each runner sees, and why the others are away: those do not hold back jobs that run elsewhere."""
        seen: dict[ClusterChoice, Mapping[str, RayJobObservation]] = {}
        away = {ClusterChoice.DEDICATED: "dedicated jobs need Kubernetes: set SLIPWAY_KUBERNETES on the platform"}
        now = self._clock.now()
        for cluster, runner in self._runners.items():
            away.pop(cluster, None)
            ask_at, why = self._away.get(cluster, (now, ""))
            if now < ask_at:
                away[cluster] = why
                continue
            try:
                seen[cluster] = runner.observe()
                self._away.pop(cluster, None)
            except TemporaryError as error:
                _log.warning("jobs of the %s cluster are left out: %s", cluster, error)
                away[cluster] = str(error)
                if cluster is ClusterChoice.DEDICATED:
                    self._away[cluster] = now + _LOOK_AGAIN, str(error)
        return seen, away

    def _follow(self, job: Job, seen: RayJobObservation | None) -> None:
        match step(job, seen):
            case Step.SUBMIT:
                if self._clock.now() >= self._submit_after.get(job.id, job.created_at):
                    self._submit(job)
            case Step.STOP:
                self._stop(job)
            case Step.RUNS:
                self._save(job.running(self._clock.now()), f"attempt {len(job.attempts)} runs")
            case Step.LOST:
                self._end(job, lost(job), report=self._storage.report(job.id, len(job.attempts)))
            case Step.EVICTED if seen:
                self._end(job, evicted(seen))
                self._runners[job.spec.cluster].release(job.submission_id or "")
            case Step.END if seen:
                self._account(job, seen)

    def _admit(self, queue: Sequence[Job], held: Sequence[Job], may_act: Callable[[], bool]) -> None:
        tiers = {tier.name for tier in self._catalog.tiers}
        known = [job for job in queue if job.spec.tier in tiers]
        refreshed = 0
        for decision in decide(known, held, self._catalog, self._sizes(held)):
            if decision.placement:
                if not may_act():
                    return
                with isolated(decision.job.id):
                    self._start(decision)
            elif decision.message != decision.job.message and refreshed < _MESSAGES_PER_PASS:
                refreshed += 1
                with isolated(decision.job.id):
                    self._tell(decision.job, decision.message)
        for job in queue:
            if job.spec.tier not in tiers:
                with isolated(job.id):
                    self._tell(job, f"waits: the catalog has no tier {job.spec.tier!r} any more")

    def _start(self, decision: Decision) -> None:
        """Save the attempt, then start it: a platform that dies in between starts it when it is back."""
        placement = decision.placement or ()
        where = ", ".join(f"{share.training_workers} on {share.group}" for share in placement)
        granted = size(placement) if is_elastic(decision.job.spec) else None
        admitted = decision.job.admitted(self._clock.now(), granted)
        self._submit(self._save(admitted, f"attempt {len(admitted.attempts)} is started: {where}"))

    def _sizes(self, held: Sequence[Job]) -> dict[str, int]:
        """Read on how many workers elastic runs are now, and how many sweeps may use yet.

        A run that shrinks holds what it had until it has shrunk.
        """
        changing = [job for job in held if is_elastic(job.spec) or isinstance(job.spec, SweepSpec)]
        reports = {job.id: self._storage.report(job.id, len(job.attempts)) for job in changing}
        return {job_id: report.num_workers or 0 for job_id, report in reports.items() if report}

    def _resize(self, queue: Sequence[Job], held: Sequence[Job], may_act: Callable[[], bool]) -> None:
        """Tell elastic runs how many workers they may have now. The run follows; only then is the room given away."""
        tiers = {tier.name for tier in self._catalog.tiers}
        wanted = grants(held, [job for job in queue if job.spec.tier in tiers], self._catalog, self._sizes(held))
        now = self._clock.now()
        for job in (job for job in held if job.id in wanted and job.state is JobState.RUNNING):
            had = (job.attempt.granted_workers if job.attempt else None) or 0
            target = had if now < self._grow_after.get(job.id, now) and wanted[job.id] > had else wanted[job.id]
            if not may_act():
                return
            with isolated(job.id):
                if target != had:
                    self._grow_after[job.id] = now + _REST
                    self._save(job.granted(target), f"may have {target} workers instead of {had}")
                # Each pass, for the one that saved the number may have died before it wrote it here.
                self._storage.grant(job.id, Grant(num_workers=target))

    def _submit(self, job: Job) -> None:
        if job.attempt and job.attempt.granted_workers:
            self._storage.grant(job.id, Grant(num_workers=job.attempt.granted_workers))
        try:
            uris = {package: self._package_uri(package) for package in packages(job.spec)}
            self._runners[job.spec.cluster].submit(attempt_request(job, self._context, self._catalog, uris))
        except PermanentError as error:
            self._end(job, Ending(Reason.SUBMISSION_REFUSED, str(error)))
        except TemporaryError as error:
            self._submit_after[job.id] = self._clock.now() + _SUBMIT_AGAIN
            _log.warning("%s is not started yet: %s", job.submission_id, error)
            self._tell(job, f"waits: {error}")
        else:
            self._submit_after.pop(job.id, None)

    def _package_uri(self, package: str) -> str:
        uri = self._storage.package_uri(package)
        if uri is None:
            raise PermanentError(f"its working directory {package} is gone: upload it and submit again")
        return uri

    def _explain(self, held: Sequence[Job]) -> None:
        """Say of dedicated jobs what holds them up: their whole cluster, or some of its workers."""
        dedicated = [job for job in held if job.spec.cluster is ClusterChoice.DEDICATED]
        going = [job for job in dedicated if job.state in (JobState.PENDING, JobState.RUNNING)]
        if not self._waiting:
            return
        with isolated("what dedicated jobs wait for"):
            explained = self._waiting.explained(going)
            for job in (job for job in going if job.id in explained):
                with isolated(job.id):
                    self._tell(job, explained[job.id])

    def _stop(self, job: Job) -> None:
        """Ask an attempt to stop. What it wrote is kept before: a dedicated one's output goes with its cluster."""
        runner, submission_id = self._runners[job.spec.cluster], job.submission_id or ""
        if job.spec.cluster is ClusterChoice.DEDICATED and (output := runner.logs(submission_id)):
            self._storage.keep_log(job.id, len(job.attempts), output)
        runner.stop(submission_id)

    def _account(self, job: Job, seen: RayJobObservation) -> None:
        """Record the end of an attempt, once its log is kept and its report read."""
        number, submission_id, runner = len(job.attempts), job.submission_id or "", self._runners[job.spec.cluster]
        output, report = None, None
        try:
            report = self._storage.report(job.id, number)
            output = runner.logs(submission_id)
            if output is not None:
                self._storage.keep_log(job.id, number, output)
        except (TemporaryError, OSError) as error:
            now = self._clock.now()
            if now - self._unread_since.setdefault(submission_id, now) < _LOG_PATIENCE:
                _log.warning("%s has ended, but its log or report cannot be read yet: %s", submission_id, error)
                return
        self._unread_since.pop(submission_id, None)
        self._end(job, ending(job, seen, report), output, report)
        runner.release(submission_id)

    def _end(self, job: Job, why: Ending, output: str | None = None, report: AttemptReport | None = None) -> None:
        now = self._clock.now()
        if why.reason is Reason.STOPPED_BY_USER and job.state is not JobState.STOPPING:
            job = job.moved(JobState.STOPPING, now)
        ended = job.ended(why.reason, now, why.message)
        text = f"attempt {len(job.attempts)}: {why.reason}" + (f": {why.message}" if why.message else "")
        happened = [*told(report, now), Event(now, ended.state, text)]
        if output and ended.state is JobState.FAILED:
            happened.append(Event(now, "log-tail", "\n".join(output.splitlines()[-_TAIL_LINES:])))
        self._store.save(ended, happened)

    def _stop_strays(
        self, wanted: set[str | None], seen: Mapping[ClusterChoice, Mapping[str, RayJobObservation]]
    ) -> None:
        """Stop attempts that run although the ledger has ended them: one was started after the platform gave it up."""
        for cluster, submission_id, observation in (
            (cluster, *one) for cluster, attempts in seen.items() for one in attempts.items()
        ):
            alive = observation.status in (RayJobStatus.PENDING, RayJobStatus.RUNNING)
            # The shared cluster keeps its ended jobs; a RayJob stays until someone lets go of it.
            if submission_id in wanted or not (alive or cluster is ClusterChoice.DEDICATED):
                continue
            job = self._store.get(submission_id.rpartition("-")[0])
            # Jobs that came by `ray job submit` are nobody's strays.
            if job and not (job.state.holds_capacity and job.submission_id == submission_id):
                _log.warning("%s is there although %s is %s: stopping it", submission_id, job.id, job.state)
                with isolated(submission_id):
                    runner = self._runners[cluster]
                    (runner.stop if alive else runner.release)(submission_id)

    def _tell(self, job: Job, message: str) -> None:
        """Write why a job waits, where that is news."""
        if job.message != message:
            self._store.save(replace(job, message=message))

    def _save(self, job: Job, message: str) -> Job:
        return self._store.save(job, [Event(self._clock.now(), job.state, message)])


def _place(job: Job) -> tuple[str, str | None]:
    """Name what a job's workers are taken from: jobs of other places neither wait for it nor make room for it."""
    dedicated = job.spec.cluster is ClusterChoice.DEDICATED
    return job.spec.cluster, job.spec.team if dedicated else None
