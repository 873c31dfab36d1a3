"""Jobs: submit, look, stop. A request writes what is wanted and returns; the reconciler runs it."""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace

from platform_app.dedicated import attempt_request
from platform_app.domain import capacity
from platform_app.domain.admission import beyond_quota
from platform_app.domain.job import Event, Job, JobState, Reason
from platform_app.domain.plan import plan
from platform_app.domain.preflight import preflight
from platform_app.domain.validation import nearest
from platform_app.errors import Conflict, FieldProblem, Forbidden, InvalidRequest, TemporaryError
from platform_app.launch import LaunchContext, packages
from platform_app.plans import OptionView, PlanView, ShareView, WaitView
from platform_app.ports import (
    Clock,
    DeploymentStore,
    JobFilter,
    JobStore,
    ModelRegistry,
    RayJobRequest,
    Storage,
    TeamStore,
)
from platform_app.services.asked import Asked
from platform_app.services.guarded import again_when_stale
from platform_app.services.room import remaining, room_of
from platform_app.specs import AnyJobSpec, AttemptReport, Catalog, ClusterChoice, digest
from platform_app.views import EventView, JobView, Page, TrialView

_LONGEST_ENTRYPOINT = 120_000
"""Bytes. Linux takes no program argument of 128 KiB, and the spec is one of them."""
_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"


def new_job_id(name: str) -> str:
    """Make an id for a job: its name and six random characters."""
    return f"{name}-{''.join(secrets.choice(_ALPHABET) for _ in range(6))}"


class Jobs(Asked):
    """The use cases of jobs."""

    def __init__(
        self,
        store: JobStore,
        deployments: DeploymentStore,
        teams: TeamStore,
        storage: Storage,
        registry: ModelRegistry,
        catalog: Catalog,
        context: LaunchContext,
        clock: Clock,
        new_id: Callable[[str], str] = new_job_id,
    ) -> None:
        super().__init__(store)
        self._deployments = deployments
        self._teams = teams
        self._storage = storage
        self._registry = registry
        self._catalog = catalog
        self._context = context
        self._clock = clock
        self._new_id = new_id

    def submit(self, spec: AnyJobSpec, idempotency_key: str | None = None, door_id: str | None = None) -> JobView:
        """Store a job to be run; the same key and spec again give the job that is stored.

        Args:
            spec: what to run.
            idempotency_key: names this submission among the team's.
            door_id: by which Ray's own clients are to know it; its own id when absent.

        Raises:
            InvalidRequest: it could never run; names the fields.
            Conflict: the key was used for another spec, or the team has a job with this `door_id`.
            Forbidden: it names another team than the caller's.
        """
        spec = self._with_team(spec)
        job = Job(self._new_id(spec.name), spec, self._clock.now(), idempotency_key=idempotency_key)
        job = replace(job, door_id=door_id or job.id)
        self._rendered(job)
        stored = self._store.add(job, [Event(job.created_at, JobState.QUEUED, f"submitted by {self._caller}")])
        if digest(stored.spec) != digest(spec):
            raise Conflict(
                f"Idempotency-Key {idempotency_key!r} was used for {stored.id}, which has another spec: take a new key"
            )
        return self._view(stored)

    def plan(self, spec: AnyJobSpec, hours: float | None = None) -> PlanView:
        """Say what a submission would run, where, when and for how much. Raises as `submit`.

        Args:
            spec: what would be submitted.
            hours: to give the price of; None for that of the job's deadline, or of an hour alone where it has none.
        """
        if hours is None and spec.deadline_seconds:
            hours = spec.deadline_seconds / 3600
        now, spec = self._clock.now(), self._with_team(spec)
        job = Job(self._new_id(spec.name), spec, now)
        request = self._rendered(job)
        where = self._store, self._deployments, self._teams, self._storage
        room = room_of(*where, self._catalog, self._caller, now)
        planned = plan(job, room, remaining(room.held, self._storage, now))
        return PlanView(
            spec=spec,
            spec_digest=digest(spec),
            submission_id=request.submission_id,
            entrypoint=request.entrypoint,
            runtime_env=dict(request.runtime_env),
            ray_job=dict(request.manifest) if request.manifest else None,
            placement=tuple(
                ShareView(**vars(share), price_per_hour=capacity.price_per_hour((share,), self._catalog))
                for share in planned.placement
            ),
            price_per_hour=planned.price_per_hour,
            hours=hours,
            price=None if hours is None else hours * planned.price_per_hour,
            starts=planned.starts,
            blocked=planned.blocked,
            preempts=planned.preempts,
            wait=WaitView(**vars(planned.wait)) if planned.wait else None,
            options=tuple(OptionView(change=o.change, price_per_hour=o.price_per_hour) for o in planned.options),
        )

    def get(self, job_id: str) -> JobView:
        """Show one job. Raises NotFound."""
        return self._view(self._stored(job_id))

    def list(self, wanted: JobFilter, limit: int, cursor: str | None = None) -> Page[JobView]:
        """Show a page of the caller's team's jobs, newest first; an admin sees those of all teams.

        Raises:
            InvalidRequest: the cursor is not ours.
        """
        if not self._caller.is_admin:
            if wanted.team not in (None, self._caller.team):
                return Page[JobView](items=())
            wanted = replace(wanted, team=self._caller.team)
        jobs, following = self._store.list(wanted, limit, cursor)
        return Page[JobView](items=tuple(self._view(job) for job in jobs), next_cursor=following)

    def events(self, job_id: str) -> Sequence[EventView]:
        """Show what happened to a job, oldest first. Raises NotFound."""
        job = self._stored(job_id)
        return [EventView.of(event) for event in self._store.events(job.id)]

    def trials(self, job_id: str) -> Sequence[TrialView]:
        """Show a sweep's trials, or a tuning command's, oldest first; a training run has none. Raises NotFound."""
        job = self._stored(job_id)
        return self._registry.trials(job.spec.experiment, job.id) if job.spec.kind != "train" else []

    @again_when_stale
    def stop(self, job_id: str) -> JobView:
        """Ask a job to stop and give it as it is; a second time changes nothing. Raises NotFound."""
        job = self._stored(job_id)
        if job.state.is_terminal or job.state is JobState.STOPPING:
            return self._view(job)
        now = self._clock.now()
        if job.state is JobState.QUEUED:
            stopped = job.ended(Reason.STOPPED_BY_USER, now, "stopped before it began")
        else:
            stopped = job.moved(JobState.STOPPING, now, "was asked to stop")
        return self._view(self._store.save(stopped, [Event(now, stopped.state, stopped.message)]))

    def _with_team(self, spec: AnyJobSpec) -> AnyJobSpec:
        """Give a spec with its team: the caller's, or the one that an admin names."""
        team = spec.team or self._caller.team
        if team != self._caller.team and not self._caller.is_admin:
            message = f"this token is team {self._caller.team}'s and submits for no other: leave team out"
            raise Forbidden(f"team {team}: {message}")
        return spec.model_copy(update={"team": team})

    def _rendered(self, job: Job) -> RayJobRequest:
        """Give a queued job's first attempt as it would be sent. Raises InvalidRequest where it could never run."""
        spec = job.spec
        uris = {package: self._storage.package_uri(package) for package in packages(spec)}
        there = {package: uri for package, uri in uris.items() if uri}
        request = attempt_request(job.admitted(job.created_at), self._context, self._catalog, there)
        teams = {team.name: team for team in self._teams.teams()}
        problems = [*capacity.impossible(spec, self._catalog)]
        if job.team in teams:
            problems += beyond_quota(spec, teams[job.team].quota, self._catalog) if not problems else ()
            problems += self._dedicated_problems(spec)
        else:
            problems.append(FieldProblem("team", f"no such team: {job.team!r}{nearest(job.team, teams)}"))
        if request.manifest and not problems:
            problems += [FieldProblem(f"ray_job.{one.field}", one.message) for one in preflight(request.manifest)]
        tiers = [tier.name for tier in self._catalog.tiers]
        if spec.tier not in tiers:
            problems.append(FieldProblem("tier", f"no such tier: {spec.tier!r}{nearest(spec.tier, tiers)}"))
        for package in packages(spec) - there.keys():
            where = "working_dir" if package == spec.working_dir else "packages"
            problems.append(FieldProblem(where, "no such package here: upload it first (POST /v1/packages)"))
        if (size := len(request.entrypoint.encode())) > _LONGEST_ENTRYPOINT:
            longest = max(type(spec).model_fields, key=lambda name: len(repr(getattr(spec, name))))
            message = f"the command line would have {size} bytes of at most {_LONGEST_ENTRYPOINT}: put data in files"
            problems.append(FieldProblem(longest, message))
        if problems:
            raise InvalidRequest(*problems)
        return request

    def _dedicated_problems(self, spec: AnyJobSpec) -> tuple[FieldProblem, ...]:
        if spec.cluster is not ClusterChoice.DEDICATED:
            return ()
        if self._context.dedicated is None:
            message = "this platform has no Kubernetes for a cluster of its own: take shared"
            return (FieldProblem("cluster", message),)
        teams = [team.name for team in self._catalog.teams]
        if spec.team not in teams:
            message = f"a dedicated job runs in its team's namespace; {spec.team!r} has none{nearest(spec.team, teams)}"
            return (FieldProblem("team", message),)
        return ()

    def _view(self, job: Job) -> JobView:
        return JobView.of(job, self._reports(job))

    def _reports(self, job: Job) -> Sequence[AttemptReport]:
        """Read the reports of its attempts, oldest first: one that has none yet continues what the last began."""
        try:
            reports = (self._storage.report(job.id, attempt.number) for attempt in job.attempts)
            return [report for report in reports if report]
        except (TemporaryError, OSError):
            return ()  # A job is shown also while its reports cannot be read.
