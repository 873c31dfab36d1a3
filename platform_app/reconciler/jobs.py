"""One pass over the jobs: submit, follow, stop, and what `platform_app.reconciler.queue` decides."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from platform_app.dedicated import attempt_request
from platform_app.domain.capacity import is_elastic
from platform_app.domain.job import Event, Job, JobState, Reason
from platform_app.errors import PermanentError, TemporaryError
from platform_app.launch import LaunchContext, packages
from platform_app.ports import (
    Clock,
    DeploymentStore,
    JobRunner,
    JobStore,
    RayJobObservation,
    RayJobStatus,
    Storage,
    TeamStore,
    WaitingSigns,
)
from platform_app.reconciler.isolation import isolated
from platform_app.reconciler.overuse import OveruseWatch
from platform_app.reconciler.queue import QueuePass, grant_of
from platform_app.reconciler.verdict import Ending, Step, ending, evicted, lost, made_room, past_deadline, step, told
from platform_app.reconciler.waiting import Waiting
from platform_app.specs import AttemptReport, Catalog, ClusterChoice, TrainSpec

_log = logging.getLogger(__name__)

_TAIL_LINES = 40
_LEAVE_PATIENCE = timedelta(minutes=2)
"""How long a training run that makes room has for its last step and checkpoint, before it is stopped."""
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
        deployments: DeploymentStore,
        teams: TeamStore,
        runners: Mapping[ClusterChoice, JobRunner],
        storage: Storage,
        catalog: Catalog,
        context: LaunchContext,
        clock: Clock,
        signs: WaitingSigns | None = None,
        overuse: OveruseWatch | None = None,
    ) -> None:
        self._store = store
        self._queue = QueuePass(store, deployments, teams, storage, catalog, clock)
        self._runners = runners
        self._storage = storage
        self._catalog = catalog
        self._context = context
        self._clock = clock
        self._leaving_since: dict[str, datetime] = {}
        """Attempts that were told to make room, by submission id."""
        self._unread_since: dict[str, datetime] = {}
        """Ended attempts whose log or report could not be read, by submission id."""
        self._submit_after: dict[str, datetime] = {}
        """When a submission that did not go through is tried again, by job id."""
        self._away: dict[ClusterChoice, tuple[datetime, str]] = {}
        """Runners that did not answer: when they are asked again, and why."""
        self._waiting = Waiting(signs, clock) if signs else None
        self._overuse = overuse

    def forget(self) -> None:
        """Wait for nothing any more that was waited for by a clock that is not the present one."""
        for memory in (self._leaving_since, self._unread_since, self._submit_after, self._away):
            memory.clear()
        for part in (self._queue, self._waiting, self._overuse):
            if part:
                part.forget()

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
                    self._follow(self._in_time(job), seen[job.spec.cluster].get(job.submission_id or ""))
        queue = [job for job in live if job.state is JobState.QUEUED and job.spec.cluster not in away]
        self._queue.run(queue, held, may_act, self._submit)
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

    def _in_time(self, job: Job) -> Job:
        """Give a job as it is, or to be stopped where it has run for longer than it may."""
        now = self._clock.now()
        if late := past_deadline(job, now):
            return self._save(job.stopped_for(Reason.DEADLINE_EXCEEDED, now, late), late)
        return job

    def _follow(self, job: Job, seen: RayJobObservation | None) -> None:
        match step(job, seen):
            case Step.SUBMIT:
                now = self._clock.now()
                if now >= self._submit_after.get(job.id, now):
                    self._submit(job)
            case Step.STOP:
                self._stop(job)
            case Step.MAKE_ROOM:
                self._make_room(job)
            case Step.LEFT:
                self._end(job, made_room(job))
            case Step.RUNS:
                self._save(job.running(self._clock.now()), f"attempt {len(job.attempts)} runs")
            case Step.LOST:
                self._end(job, lost(job), report=self._storage.report(job.id, len(job.attempts)))
            case Step.EVICTED if seen:
                self._end(job, evicted(seen))
                self._runners[job.spec.cluster].release(job.submission_id or "")
            case Step.END if seen:
                self._account(job, seen)

    def _submit(self, job: Job) -> None:
        grant = grant_of(job)
        if is_elastic(job.spec) or grant.leave:
            self._storage.grant(job.id, grant)
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

    def _make_room(self, job: Job) -> None:
        """Have an attempt go: a training run after a checkpoint, what has none or takes too long at once."""
        number, submission_id, now = len(job.attempts), job.submission_id or "", self._clock.now()
        report = self._storage.report(job.id, number)
        can_checkpoint = isinstance(job.spec, TrainSpec) and job.spec.workload and report and report.progress
        is_late = now - self._leaving_since.setdefault(submission_id, now) >= _LEAVE_PATIENCE
        if can_checkpoint and not is_late:
            self._storage.grant(job.id, grant_of(job))
        else:
            self._stop(job)

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
        self._leaving_since.pop(job.submission_id or "", None)
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
