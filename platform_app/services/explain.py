"""Why a job waits, what it does, or why it ended: every layer is asked for its signs, and the rules choose.

A layer that is away becomes a sign of its own: a question about a job is answered whatever does not answer.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from platform_app.domain import capacity
from platform_app.domain.causes import CAUSES
from platform_app.domain.explain import Explanation, Sign, Source, explain
from platform_app.domain.job import Job, JobState
from platform_app.domain.supply import GroupCount, options, worker_signs
from platform_app.domain.symptoms import (
    driver_signs,
    end_signs,
    is_silent,
    output_signs,
    report_signs,
)
from platform_app.domain.turn import Room, Wait, turn_signs, wait_for_room
from platform_app.errors import TemporaryError
from platform_app.plans import ExplanationView, OptionView, ReasonView, SignView, WaitView
from platform_app.ports import (
    Clock,
    Cluster,
    DeploymentStore,
    JobRunner,
    JobStore,
    RayJobStatus,
    Storage,
    TeamStore,
    WaitingSigns,
)
from platform_app.services.asked import Asked
from platform_app.services.room import newest_report, remaining, room_of
from platform_app.specs import Catalog, ClusterChoice

_UNKNOWN = Explanation(
    "unknown", "nothing that is known explains it", "see its output and events (slipway logs, events)"
)
_COULD_BE_HAD_ELSEWHERE = (Source.ADMISSION, Source.WORKERS)
"""Who speaks of a want of room: other ways to ask may help then."""


class Explain(Asked):
    """The use case of `GET /v1/jobs/{id}/explain`."""

    def __init__(
        self,
        store: JobStore,
        deployments: DeploymentStore,
        teams: TeamStore,
        runners: Mapping[ClusterChoice, JobRunner],
        storage: Storage,
        catalog: Catalog,
        cluster: Cluster,
        clock: Clock,
        missing: Callable[[], Sequence[str]],
        signs: WaitingSigns | None = None,
    ) -> None:
        """Put it together.

        Args:
            store: the ledger.
            deployments: what is served.
            teams: the quotas.
            runners: where attempts run.
            storage: reports and kept outputs.
            catalog: what there is, and for how much.
            cluster: the shared cluster's workers.
            clock: the time.
            missing: what keeps the platform from being ready, a sentence each.
            signs: what is known of clusters that are made for a job; None without Kubernetes.
        """
        super().__init__(store)
        self._deployments = deployments
        self._teams = teams
        self._runners = runners
        self._storage = storage
        self._catalog = catalog
        self._cluster = cluster
        self._clock = clock
        self._missing = missing
        self._signs = signs

    def explain(self, job_id: str) -> ExplanationView:
        """Explain a job. Raises NotFound."""
        job = self._stored(job_id)
        counts: Mapping[str, GroupCount] = {}
        signs: list[Sign] = []
        if not job.state.is_terminal:
            signs += [Sign(Source.ADMISSION, "NoReconciler", one, "the platform") for one in self._missing()]
        match job.state:
            case JobState.QUEUED:
                signs += self._queued(job)
            case JobState.PENDING:
                signs += self._pending(job)
            case JobState.RUNNING | JobState.STOPPING:
                counts = self._counts(signs)
                signs += self._running(job, counts)
            case _:
                signs += end_signs(job, self._output(job))
        found = explain(signs, CAUSES)
        return self._view(job, found or (_UNKNOWN,), signs, counts)

    def _queued(self, job: Job) -> Iterator[Sign]:
        yield from turn_signs(job, self._room())
        yield from end_signs(job, "")
        if job.spec.cluster not in self._runners:
            yield Sign(Source.API, "Away", job.message.removeprefix("waits: "), "the platform")
            return
        try:
            self._runners[job.spec.cluster].observe()
        except TemporaryError as error:
            yield Sign(Source.API, "Away", str(error), "the cluster")

    def _pending(self, job: Job) -> Iterator[Sign]:
        assert job.attempt
        assert job.submission_id
        try:
            seen = self._runners[job.spec.cluster].observe().get(job.submission_id)
        except (KeyError, TemporaryError) as error:
            yield Sign(Source.API, "Away", str(error), "the cluster")
            return
        if seen is None and job.message.startswith("waits: "):
            yield Sign(Source.API, "NotSubmitted", job.message.removeprefix("waits: "), "the cluster")
        if job.spec.cluster is ClusterChoice.DEDICATED:
            yield from self._of_its_cluster(job.submission_id)
        elif seen is None or seen.status is RayJobStatus.PENDING:
            yield from driver_signs(job, job.attempt, self._clock.now())

    def _running(self, job: Job, counts: Mapping[str, GroupCount]) -> Iterator[Sign]:
        report, now = newest_report(self._storage, job), self._clock.now()
        yield from report_signs(job, report, now)
        lacks_steps = report is None or report.progress is None or is_silent(report.progress, now)
        if job.state is JobState.STOPPING or not lacks_steps:
            return
        yield from output_signs(self._output(job), "running")
        if job.spec.cluster is ClusterChoice.DEDICATED:
            yield from self._of_its_cluster(job.submission_id or "")
        elif counts:
            yield from worker_signs(job.spec, self._catalog, counts)

    def _counts(self, signs: list[Sign]) -> Mapping[str, GroupCount]:
        try:
            return self._cluster.workers()
        except TemporaryError as error:
            signs.append(Sign(Source.API, "Unreadable", str(error), "the autoscaler"))
            return {}

    def _of_its_cluster(self, submission_id: str) -> Iterable[Sign]:
        if self._signs is None:
            return ()
        try:
            return self._signs.of([submission_id]).get(submission_id, ())
        except TemporaryError as error:
            return (Sign(Source.API, "Unreadable", str(error), "Kubernetes"),)

    def _room(self) -> Room:
        where = self._store, self._deployments, self._teams, self._storage
        return room_of(*where, self._catalog, self._caller, self._clock.now())

    def _output(self, job: Job) -> str:
        number = len(job.attempts)
        try:
            kept = self._storage.log(job.id, number) if number else ""
            if kept is None and (runner := self._runners.get(job.spec.cluster)):
                kept = runner.logs(f"{job.id}-{number}")
        except TemporaryError:
            return ""
        return kept or ""

    def _view(
        self, job: Job, found: Sequence[Explanation], signs: Sequence[Sign], counts: Mapping[str, GroupCount]
    ) -> ExplanationView:
        first, others = found[0], found[1:]
        room = self._room()
        could, unblock = [], first.unblock
        if not first.comes and first.evidence and first.evidence[0].source in _COULD_BE_HAD_ELSEWHERE:
            troubled = frozenset(group for group, count in counts.items() if count.troubles)
            could = [*options(job.spec, self._catalog, room.used(job, {job.id}), troubled)]
        placement = capacity.place(capacity.demand(job.spec), self._catalog, {}) or ()
        price = capacity.price_per_hour(placement, self._catalog)
        if could:
            instead = f"{could[0].change} could be had now, for ${could[0].price_per_hour:.2f} per hour"
            unblock = f"{unblock}; or {instead} instead of ${price:.2f}"
        evidence = [*first.evidence, *(sign for sign in signs if sign not in first.evidence and _tells(sign))]
        return ExplanationView(
            job_id=job.id,
            state=job.state,
            cause=first.cause,
            why=first.why,
            unblock=unblock,
            blocked=not first.comes and job.state not in (JobState.SUCCEEDED, JobState.STOPPED),
            options=tuple(OptionView(change=one.change, price_per_hour=one.price_per_hour) for one in could),
            price_per_hour=price,
            wait=_wait_view(self._wait(job, first, room)),
            evidence=tuple(SignView(**vars(sign)) for sign in evidence),
            others=tuple(ReasonView(cause=one.cause, why=one.why, unblock=one.unblock) for one in others),
        )

    def _wait(self, job: Job, first: Explanation, room: Room) -> Wait | None:
        """Say how long it may wait, where that follows from something: the pace of others, or the catalog's times."""
        now, sign = self._clock.now(), first.evidence[0] if first.evidence else None
        if (
            job.state is JobState.QUEUED
            and sign
            and sign.source is Source.ADMISSION
            and sign.reason in ("Full", "Behind")
        ):
            return wait_for_room(job, room, remaining(room.held, self._storage, now))
        if first.cause == "workers-launching" and sign and sign.at:
            left_to_come = self._catalog.spot_wait_seconds - (now - sign.at).total_seconds()
            return Wait(0.0, left_to_come) if left_to_come > 0 else None
        return None


def _tells(sign: Sign) -> bool:
    """Say whether a sign is worth showing although nothing follows from it: not each line of an output."""
    return sign.source is not Source.OUTPUT


def _wait_view(wait: Wait | None) -> WaitView | None:
    return WaitView(**vars(wait)) if wait else None
