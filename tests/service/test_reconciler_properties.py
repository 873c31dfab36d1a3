"""Whatever happens in whatever order: no job is lost, none runs twice at once, what has ended stays ended."""

import contextlib
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from platform_app.domain.job import TERMINAL, Job, JobState, Reason
from platform_app.ports import JobFilter, RayJobStatus
from platform_app.specs import ClusterChoice
from tests.control_plane import ControlPlane
from tests.fakes import Crash, FakeRunner

ENDS = st.sampled_from([RayJobStatus.SUCCEEDED, RayJobStatus.FAILED, RayJobStatus.STOPPED])
ANY = st.integers(min_value=0, max_value=1000)


class ContendedStore:
    """A ledger in which someone stops a job just before the reconciler writes it, when a test says so."""

    def __init__(self, store) -> None:
        self._store = store
        self.first = None
        """Called once, with the id of the job that is about to be written."""

    def __getattr__(self, name: str):
        return getattr(self._store, name)

    def save(self, job: Job, happened=()):
        first, self.first = self.first, None
        if first:
            first(job.id)
        return self._store.save(job, happened)


class World(RuleBasedStateMachine):
    """People, Ray and the control plane's process do what they like."""

    migrated: Path

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.plane = ControlPlane(Path(self.folder.name), self.migrated)
        self.contended = ContendedStore(self.plane.database.jobs)
        self.plane.store = self.contended
        self.plane.reconciler = self.plane.new_reconciler("first")
        self.jump = -3600.0
        """Seconds by which the clock is set next time: back, then forward again."""
        self.submitted: list[str] = []
        self.asked_to_stop: set[str] = set()
        self.ended: dict[str, Job] = {}

    def teardown(self) -> None:
        try:
            self.everything_ends_once_ray_lets_it()
        finally:
            self.plane.database.close()
            self.folder.cleanup()

    # People.

    @rule(
        workers=st.sampled_from([1, 2, 6]),
        tier=st.sampled_from(["development", "training-critical"]),
        where=st.sampled_from([{}, {"cluster": "dedicated", "team": "research"}]),
    )
    def submit(self, workers: int, tier: str, where: dict[str, str]) -> None:
        self.submitted.append(self.plane.submit(resources={"num_workers": workers}, tier=tier, **where))

    @rule()
    def submit_and_let_it_run(self) -> None:
        self.submit(1, "training-critical", {})
        self.tick()
        for runner, submission_id in self.alive():
            runner.begin(submission_id)
        self.tick()

    @precondition(lambda self: self.submitted)
    @rule(which=ANY)
    def stop(self, which: int) -> None:
        self.someone_stops(self.submitted[which % len(self.submitted)])

    def someone_stops(self, job_id: str) -> None:
        self.asked_to_stop.add(job_id)
        self.plane.jobs.stop(job_id)
        self.what_has_ended_stays_as_it_ended()

    # The control plane.

    @rule()
    def tick(self) -> None:
        # A crash kills the process in the middle of the pass.
        try:
            self.plane.tick()
        except Crash:
            self.plane.restart()

    @rule(what=st.sampled_from(["restart", "two at once", "crash before", "crash after", "stopped meanwhile", "clock"]))
    def a_misfortune(self, what: str) -> None:
        match what:
            case "restart":
                self.plane.restart()
            case "two at once":
                with contextlib.suppress(Crash):
                    self.plane.new_reconciler("another").tick()
            case "clock":
                self.plane.clock.advance(self.jump)
                self.jump = -self.jump
            case "stopped meanwhile":
                # Between what is decided about a job and the write of it.
                self.contended.first = self.someone_stops
            case _:
                self.plane.runner.crash = self.plane.dedicated.crash = what.removeprefix("crash ")

    # Ray and Kubernetes.

    def alive(self) -> list[tuple[FakeRunner, str]]:
        runners = self.plane.runners.values()
        return [(runner, submission_id) for runner in runners for submission_id in runner.alive()]

    @precondition(lambda self: self.alive())
    @rule(which=ANY)
    def an_attempt_begins(self, which: int) -> None:
        runner, submission_id = self.alive()[which % len(self.alive())]
        runner.begin(submission_id)

    @precondition(lambda self: self.alive())
    @rule(which=ANY, status=ENDS)
    def an_attempt_ends(self, which: int, status: RayJobStatus) -> None:
        runner, submission_id = self.alive()[which % len(self.alive())]
        runner.finish(submission_id, status)

    @precondition(lambda self: self.plane.dedicated.alive())
    @rule(which=ANY, how=st.sampled_from(["evicted", "head lost"]))
    def a_dedicated_cluster_goes(self, which: int, how: str) -> None:
        alive = self.plane.dedicated.alive()
        submission_id = alive[which % len(alive)]
        if how == "evicted":
            self.plane.dedicated.pend(submission_id)
        else:
            self.plane.dedicated.finish(submission_id, RayJobStatus.FAILED, cause=Reason.CLUSTER_LOST)

    @rule(which=st.sampled_from(ClusterChoice))
    def a_cluster_is_lost(self, which: ClusterChoice) -> None:
        self.plane.runners[which].lose_all()

    @rule(ray=st.booleans(), logs=st.booleans(), kubernetes=st.booleans())
    def something_is_away_or_back(self, ray: bool, logs: bool, kubernetes: bool) -> None:
        self.plane.runner.power.away = ray
        self.plane.runner.log_power.away = logs
        self.plane.dedicated.power.away = kubernetes

    # What holds at all times.

    @invariant()
    def no_job_is_lost(self) -> None:
        page, _ = self.plane.store.list(JobFilter(), 200)
        assert sorted(job.id for job in page) == sorted(self.submitted)

    @invariant()
    def no_job_runs_twice_at_once(self) -> None:
        alive = [submission_id.rpartition("-")[0] for _, submission_id in self.alive()]
        assert len(alive) == len(set(alive))

    @invariant()
    def what_has_ended_stays_as_it_ended(self) -> None:
        for job_id in self.submitted:
            job = self.plane.job(job_id)
            if job_id in self.ended:
                assert job == self.ended[job_id]
            elif job.state.is_terminal:
                self.ended[job_id] = job

    @invariant()
    def who_is_asked_to_stop_never_starts_again(self) -> None:
        for job_id in self.asked_to_stop:
            assert self.plane.job(job_id).state in (JobState.STOPPING, *TERMINAL)

    @invariant()
    def what_is_told_of_attempts_is_whole(self) -> None:
        for job_id in self.submitted:
            job = self.plane.job(job_id)
            assert [attempt.number for attempt in job.attempts] == list(range(1, len(job.attempts) + 1))
            assert all(attempt.ended_at for attempt in job.attempts[:-1])
            if job.attempt and not job.state.holds_capacity:
                assert job.attempt.ended_at

    def everything_ends_once_ray_lets_it(self) -> None:
        """Every job comes to its end when the systems are up and attempts end."""
        for runner in self.plane.runners.values():
            runner.power.away = runner.log_power.away = False
            runner.crash = None
        self.contended.first = None
        self.plane.restart()
        for _ in range(4 * len(self.submitted) + 4):
            self.plane.tick()
            for runner, submission_id in self.alive():
                runner.write(submission_id, "the end\n")
                runner.finish(submission_id)
        self.what_has_ended_stays_as_it_ended()
        assert [self.plane.job(job_id).state for job_id in self.submitted if job_id not in self.ended] == []
        assert self.alive() == []


@pytest.mark.timeout(120)
def test_jobs_survive_whatever_happens_in_whatever_order(migrated):
    World.migrated = migrated
    run_state_machine_as_test(
        World,
        settings=settings(
            max_examples=8,
            stateful_step_count=30,
            # Shrinking would take minutes; the steps that failed are printed all the same.
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
