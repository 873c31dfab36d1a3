"""The Python client against the real API over real HTTP."""

import threading

import httpx
import pytest

from platform_app.client import ApiError, Platform
from platform_app.domain.deployment import DeploymentState
from platform_app.domain.job import JobState
from platform_app.errors import InvalidRequest, NotFound, TemporaryError
from platform_app.ports import RayJobStatus
from platform_app.specs import AttemptStatus, DeploymentSpec, TrainSpec
from tests.control_plane import sweep_spec, train_spec

FIELDS = {"name": "digits", "workload": "jobs.workloads.digits:make"}


@pytest.mark.parametrize("form", ["spec", "fields", "file"])
def test_a_spec_is_taken_as_a_value_as_fields_and_as_a_file(platform, tmp_path, form):
    path = tmp_path / "job.yaml"
    path.write_text("name: digits\nworkload: jobs.workloads.digits:make\n")
    job = platform.submit({"spec": TrainSpec(**FIELDS), "fields": FIELDS, "file": path}[form])
    assert job.spec == TrainSpec(**FIELDS, team="default")
    assert platform.job(job.id) == job


def test_a_file_that_holds_no_fields_is_refused_by_name(platform, tmp_path):
    (tmp_path / "job.yaml").write_text("- a\n- b\n")
    with pytest.raises(InvalidRequest, match=r"job.yaml: expected a mapping"):
        platform.submit(tmp_path / "job.yaml")


def test_a_working_directory_is_uploaded_and_named_in_the_spec(platform, tmp_path):
    code = tmp_path / "code"
    code.mkdir()
    (code / "mine.py").write_text("x = 1\n")
    job, again = (platform.submit(FIELDS, working_dir=code) for _ in range(2))
    assert job.spec.working_dir.startswith("package:")
    assert again.spec.working_dir == job.spec.working_dir
    assert again.id != job.id


def test_a_key_makes_two_submissions_one_job(platform):
    assert platform.submit(FIELDS, idempotency_key="k").id == platform.submit(FIELDS, idempotency_key="k").id


def test_a_refusal_carries_the_fields(platform):
    with pytest.raises(ApiError) as caught:
        platform.submit({**FIELDS, "resources": {"num_workers": 99}})
    assert caught.value.status == 422
    assert caught.value.problems[0].field == "resources.num_workers"
    with pytest.raises(ApiError) as caught:
        platform.job("nothing")
    assert (caught.value.status, caught.value.code) == (404, "not-found")


def test_a_wrong_token_is_told_from_a_wrong_request(url):
    with pytest.raises(ApiError) as caught:
        Platform(url, "wrong").jobs()
    assert (caught.value.status, caught.value.code) == (401, "unauthenticated")


def test_a_list_is_filtered_and_paged(platform):
    first = platform.submit(train_spec())
    second = platform.submit(sweep_spec())
    assert [job.id for job in platform.jobs(kind="sweep").items] == [second.id]
    page = platform.jobs(limit=1)
    assert [job.id for job in platform.jobs(limit=1, cursor=page.next_cursor).items] == [first.id]


def test_waiting_ends_with_the_job_and_shows_it_on_the_way(platform, plane):
    job_id = plane.running()
    seen = []

    def look(job):
        seen.append(job.state)
        plane.end(job_id)

    assert platform.wait(job_id, on_change=look).state is JobState.SUCCEEDED
    assert seen[0] is JobState.RUNNING


def test_waiting_no_longer_than_asked_leaves_the_job_alone(platform, plane):
    job_id = plane.running()
    with pytest.raises(TimeoutError, match=job_id):
        platform.wait(job_id, timeout=0)
    assert platform.job(job_id).state is JobState.RUNNING


def test_following_a_log_gives_every_byte_once_though_the_stream_breaks(platform, plane):
    job_id = plane.running()
    plane.runner.write(f"{job_id}-1", "première ligne\n" * 50)
    plane.runner.broken_tails = 2
    ender = threading.Timer(0.5, lambda: (plane.runner.write(f"{job_id}-1", "fin\n"), plane.end(job_id)))
    ender.start()
    text = "".join(platform.logs(job_id, follow=True))
    ender.join()
    assert text == "première ligne\n" * 50 + "fin\n"


def test_following_goes_on_with_the_next_attempt(platform, plane):
    job_id = plane.running()
    plane.runner.write(f"{job_id}-1", "one\n")
    plane.runner.lose_all()
    plane.tick()
    plane.tick()
    plane.runner.begin(f"{job_id}-2")
    plane.tick()
    plane.runner.write(f"{job_id}-2", "two\n")
    plane.storage.keep_log(job_id, 1, "one\n")
    plane.end(job_id)
    first = platform.logs(job_id, follow=True, attempt=1)
    assert "".join(first) == "one\n"
    assert "".join(platform.logs(job_id, follow=True)) == "two\n"


def test_stop_events_and_trials_come_back_typed(platform, plane):
    job_id = plane.running()
    assert platform.stop(job_id).state is JobState.STOPPING
    plane.end(job_id, RayJobStatus.STOPPED)
    assert platform.stop(job_id).state is JobState.STOPPED
    assert [event.kind for event in platform.events(job_id)][-2:] == ["STOPPING", "STOPPED"]
    assert platform.trials(job_id) == ()


def test_progress_comes_from_the_jobs_own_report(platform, plane):
    job_id = plane.running()
    progress = {"done": 3, "total": 9, "unit": "steps", "metrics": {"loss": 0.5}}
    plane.report(job_id, 1, status=AttemptStatus.RUNNING, progress=progress)
    assert platform.job(job_id).progress.done == 3


def test_a_model_is_promoted_deployed_and_taken_back(platform, plane):
    plane.registry.add_version("digits")
    plane.registry.add_version("digits")
    assert platform.promote("digits", 1).aliases == {"champion": 1}
    assert platform.promote("digits").aliases == {"champion": 2, "previous": 1}
    platform.deploy("digits", DeploymentSpec(model="digits"))
    plane.tick()
    plane.serving.become_ready("digits")
    plane.tick()
    assert platform.wait_deployed("digits", version=2, timeout=5).state is DeploymentState.READY
    assert platform.rollback("digits").aliases == {"champion": 1}
    with pytest.raises(ApiError) as caught:
        platform.rollback("digits")
    assert caught.value.status == 409
    platform.undeploy("digits")
    platform.undeploy("digits")


def test_a_deployment_that_failed_is_not_waited_for(platform, plane):
    plane.registry.add_version("digits")
    platform.promote("digits")
    platform.deploy("digits", DeploymentSpec(model="digits"))
    plane.tick()
    plane.serving.become_failed("digits", "no such file")
    plane.tick()
    assert "no such file" in platform.wait_deployed("digits", timeout=5).message


def test_a_platform_that_restarts_is_waited_for(url):
    no_route = httpx.Response(404, text="Path '/v1/jobs' not found. Ping http://.../-/routes for available routes.")
    answers = iter([httpx.ConnectError("refused"), no_route, httpx.Response(503, json={"detail": "restarting"})])

    class Restarting(httpx.BaseTransport):
        def handle_request(self, request):
            answer = next(answers, None) or httpx.Response(200, json={"items": [], "next_cursor": None})
            if isinstance(answer, Exception):
                raise answer
            return answer

    assert Platform(url, "t", transport=Restarting()).jobs().items == ()


def test_a_rollback_that_may_have_arrived_is_not_sent_twice(url):
    sent = []

    class Breaking(httpx.BaseTransport):
        def handle_request(self, request):
            sent.append(request)
            raise httpx.ReadError("broken")

    with pytest.raises(TemporaryError, match="does not answer"):
        Platform(url, "t", transport=Breaking()).rollback("digits")
    assert len(sent) == 1


def test_nothing_says_where_the_platform_is(monkeypatch, tmp_path):
    monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path))
    monkeypatch.delenv("SLIPWAY_URL", raising=False)
    monkeypatch.delenv("SLIPWAY_TOKEN", raising=False)
    with pytest.raises(NotFound, match="slipway up"):
        Platform()
