"""Jobs with clusters of their own: where they go, why they wait, and how they come back."""

import pytest

from platform_app.domain.explain import Sign, Source
from platform_app.domain.job import JobState, Reason
from platform_app.errors import InvalidRequest, TemporaryError
from platform_app.ports import RayJobStatus
from platform_app.services.jobs import Jobs
from platform_app.specs import ClusterChoice
from tests.control_plane import ADMIN, train_spec

DEDICATED = {"cluster": "dedicated", "team": "research"}


@pytest.fixture
def job_id(plane) -> str:
    """Give the id of a dedicated job that waits for its cluster."""
    job_id = plane.submit(**DEDICATED)
    plane.tick()
    return job_id


@pytest.fixture
def running(plane, job_id) -> str:
    """Give the id of a dedicated job that runs its first attempt."""
    plane.dedicated.begin(f"{job_id}-1")
    plane.tick()
    assert plane.job(job_id).state is JobState.RUNNING
    return job_id


def finish(plane, job_id: str, **how) -> None:
    plane.dedicated.finish(plane.job(job_id).submission_id, **how)
    plane.tick()


def test_each_job_goes_to_the_runner_of_its_cluster(plane, job_id):
    shared = plane.submit()
    plane.tick()
    assert list(plane.runner.requests) == [f"{shared}-1"]
    assert list(plane.dedicated.requests) == [f"{job_id}-1"]
    assert plane.dedicated.requests[f"{job_id}-1"].manifest["metadata"]["namespace"] == "team-research"


def test_it_goes_to_its_end_and_lets_go_of_its_cluster(plane, running):
    plane.dedicated.write(f"{running}-1", "done\n")
    finish(plane, running)
    assert plane.job(running).state is JobState.SUCCEEDED
    assert plane.dedicated.released == [f"{running}-1"]
    assert plane.storage.log(running, 1) == "done\n"


def test_what_was_not_let_go_of_is_let_go_of_later(plane, running):
    plane.dedicated.finish(f"{running}-1")
    release, plane.dedicated.release = plane.dedicated.release, _away
    plane.tick()
    assert plane.job(running).state is JobState.SUCCEEDED
    plane.dedicated.release = release
    plane.tick()
    assert plane.dedicated.released == [f"{running}-1"]


def _away(submission_id: str) -> None:
    raise TemporaryError("Kubernetes does not answer")


def test_its_log_is_read_where_it_runs(plane, running):
    plane.dedicated.write(f"{running}-1", "step 1\n")
    assert plane.logs.read(running, 1) == b"step 1\n"


def test_a_stop_asks_its_own_runner_and_keeps_what_it_wrote(plane, running):
    plane.dedicated.write(f"{running}-1", "half\n")
    plane.jobs.stop(running)
    plane.tick()
    assert plane.dedicated.stops == [f"{running}-1"]
    plane.dedicated.lose_all()
    plane.tick()
    assert plane.job(running).state is JobState.STOPPED
    assert plane.storage.log(running, 1) == "half\n"


@pytest.mark.parametrize("how", ["lost", "evicted", "deleted"])
def test_a_cluster_that_went_away_is_followed_by_the_next_attempt(plane, running, how):
    match how:
        case "lost":
            finish(plane, running, status=RayJobStatus.FAILED, message="head evicted", cause=Reason.CLUSTER_LOST)
            assert "head evicted" in plane.job(running).attempts[0].message
        case "evicted":
            plane.dedicated.pend(f"{running}-1")
            plane.tick()
        case "deleted":
            plane.dedicated.lose_all()
            plane.tick()
    plane.tick()
    job = plane.job(running)
    assert (job.state, len(job.attempts)) == (JobState.PENDING, 2)
    assert job.attempts[0].reason is (Reason.PREEMPTED if how == "evicted" else Reason.CLUSTER_LOST)
    assert f"{running}-2" in plane.dedicated.requests
    if how != "deleted":
        assert f"{running}-1" in plane.dedicated.released


def test_its_own_failure_is_its_own_also_when_the_cluster_goes_too(plane, running):
    plane.report(running, 1, status="failed", cause="user-code-failed", message="KeyError")
    finish(plane, running, status=RayJobStatus.FAILED, cause=Reason.CLUSTER_LOST)
    assert plane.job(running).reason is Reason.USER_CODE_FAILED


def test_what_the_operator_refuses_fails_with_its_words(plane, job_id):
    finish(plane, job_id, status=RayJobStatus.FAILED, message="no", cause=Reason.SUBMISSION_REFUSED)
    assert (plane.job(job_id).state, plane.job(job_id).message) == (JobState.FAILED, "no")


class TestKubernetesAway:
    def test_does_not_hold_back_shared_jobs(self, plane, job_id):
        plane.dedicated.power.away = True
        shared = plane.running()
        plane.end(shared)
        assert plane.job(shared).state is JobState.SUCCEEDED

    def test_is_told_to_those_who_wait_for_it_and_loses_none(self, plane, running):
        queued = plane.submit(**DEDICATED)
        plane.dedicated.power.away = True
        for _ in range(3):
            plane.tick()
        assert plane.job(running).state is JobState.RUNNING
        assert plane.job(queued).state is JobState.QUEUED
        assert "does not answer" in plane.job(queued).message
        plane.dedicated.power.away = False
        plane.tick(10)
        assert plane.job(queued).state is JobState.PENDING
        assert plane.job(running).message == ""

    def test_is_left_alone_for_a_while_for_its_timeouts_hold_up_everyone(self, plane, job_id):
        plane.dedicated.power.away = True
        plane.tick()
        plane.dedicated.power.away = False
        plane.dedicated.begin(f"{job_id}-1")
        plane.tick()
        assert plane.job(job_id).state is JobState.PENDING
        plane.tick(5)
        assert plane.job(job_id).state is JobState.RUNNING

    def test_ray_away_does_not_hold_back_dedicated_jobs(self, plane):
        plane.runner.power.away = True
        job_id = plane.submit(**DEDICATED)
        plane.tick()
        assert plane.job(job_id).state is JobState.PENDING


class TestSubmittingThatDoesNotGoThrough:
    @pytest.fixture(autouse=True)
    def _refused(self, plane):
        self.tries = 0
        self.trouble: str | None = "the quota jobs of its namespace is used up"
        submit = plane.dedicated.submit

        def refusing(request) -> None:
            self.tries += 1
            if self.trouble:
                raise TemporaryError(self.trouble)
            submit(request)

        plane.dedicated.submit = refusing

    def test_waits_and_says_why(self, plane):
        job_id = plane.submit(**DEDICATED)
        plane.tick()
        assert plane.job(job_id).state is JobState.PENDING
        assert plane.job(job_id).message == "waits: the quota jobs of its namespace is used up"

    def test_is_tried_again_after_a_rest_and_then_runs(self, plane):
        job_id = plane.submit(**DEDICATED)
        for _ in range(4):
            plane.tick()
        assert self.tries == 1
        self.trouble = None
        plane.tick(5)
        plane.dedicated.begin(f"{job_id}-1")
        plane.tick()
        assert plane.job(job_id).state is JobState.RUNNING
        assert plane.job(job_id).message == ""

    def test_a_team_that_is_stuck_holds_back_no_other(self, plane):
        for _ in range(3):
            plane.submit(**DEDICATED, resources={"num_workers": 6})
        plane.tick()
        self.trouble = None
        shared, other = plane.submit(), plane.submit(cluster="dedicated", team="product")
        plane.tick()
        assert plane.job(shared).state is JobState.PENDING
        assert plane.job(other).state is JobState.PENDING
        assert f"{other}-1" in plane.dedicated.requests


class TestWaiting:
    def test_says_what_the_cluster_says(self, plane, job_id):
        plane.signs.known[f"{job_id}-1"] = (Sign(Source.CONTAINER, "ErrImagePull", "manifest unknown", "the head"),)
        plane.tick(5)
        assert plane.job(job_id).message.startswith(
            "waits: there is no such image for the head: manifest unknown; push"
        )

    def test_says_nothing_any_more_once_nothing_holds_it_up(self, plane, job_id):
        plane.signs.known[f"{job_id}-1"] = (Sign(Source.RAY_JOB, "Initializing"),)
        plane.tick(5)
        assert plane.job(job_id).message == "waits: its cluster is being started"
        plane.signs.known.clear()
        plane.tick(5)
        assert plane.job(job_id).message == ""

    def test_is_asked_now_and_then_and_written_when_it_is_news(self, plane, job_id):
        plane.signs.known[f"{job_id}-1"] = (Sign(Source.RAY_JOB, "Initializing"),)
        plane.tick(5)
        asked, version = plane.signs.asked, plane.job(job_id).version
        for _ in range(4):
            plane.tick()
        assert plane.signs.asked == asked
        plane.tick(5)
        assert plane.signs.asked == asked + 1
        assert plane.job(job_id).version == version

    def test_asks_nothing_where_no_dedicated_job_is(self, plane):
        plane.running()
        assert plane.signs.asked == 0


class TestSubmission:
    def refused(self, plane, **fields) -> list[tuple[str, str]]:
        with pytest.raises(InvalidRequest) as told:
            plane.submit(**fields)
        return [(problem.field, problem.message) for problem in told.value.problems]

    def test_without_a_team_names_the_teams(self, plane):
        field, message = self.refused(plane, cluster="dedicated")[0]
        assert field == "team"
        assert "research" in message

    def test_of_an_unknown_team_names_the_nearest(self, plane):
        assert self.refused(plane, cluster="dedicated", team="reserch") == [
            ("team", "no such team: 'reserch'; did you mean 'research'?")
        ]

    def test_without_kubernetes_says_what_to_take(self, plane):
        context = type(plane.context)(storage=plane.root, tracking_uri="http://mlflow")
        stores = plane.store, plane.database.deployments, plane.database.teams
        jobs = Jobs(*stores, plane.storage, plane.registry, plane.catalog, context, plane.clock).of(ADMIN)
        with pytest.raises(InvalidRequest, match=r"cluster: this platform has no Kubernetes .* take shared"):
            jobs.submit(train_spec(**DEDICATED))

    def test_a_platform_that_lost_its_kubernetes_lets_its_dedicated_jobs_wait(self, plane, job_id):
        plane.no_kubernetes = True
        plane.restart()
        plane.tick()
        assert plane.job(job_id).state is JobState.PENDING
        assert "SLIPWAY_KUBERNETES" in plane.job(job_id).message
        assert plane.logs.read(job_id, 1) == b""

    def test_a_dry_run_shows_the_ray_job_and_creates_none(self, plane):
        plan = plane.jobs.plan(train_spec(**DEDICATED))
        assert plan.ray_job["kind"] == "RayJob"
        assert plan.ray_job["metadata"]["namespace"] == "team-research"
        assert plane.jobs.plan(train_spec()).ray_job is None

    def test_a_cluster_is_shared_unless_another_is_asked_for(self):
        assert train_spec().cluster is ClusterChoice.SHARED
