"""Each route, as a client sees it."""

import pytest

from platform_app.domain.supply import GroupCount
from platform_app.plans import PlanView
from platform_app.views import JobView, Page
from tests.control_plane import a_zip

TRAIN = {"kind": "train", "name": "digits", "workload": "jobs.workloads.digits:make"}
SWEEP = {**TRAIN, "kind": "sweep", "name": "sweep", "space": {"lr": {"type": "uniform", "low": 0, "high": 1}}}


class TestJobs:
    @pytest.mark.parametrize("spec", [TRAIN, SWEEP])
    def test_a_submission_is_accepted_and_says_where_the_job_is(self, api, spec):
        answer = api.post("/v1/jobs", json=spec)
        assert answer.status_code == 202
        job = JobView.model_validate(answer.json())
        assert answer.headers["Location"] == f"/v1/jobs/{job.id}"
        assert api.get(answer.headers["Location"]).json() == answer.json()
        assert (job.state, job.kind) == ("QUEUED", spec["kind"])

    def test_the_same_idempotency_key_gives_the_same_job(self, api):
        first, second = (api.post("/v1/jobs", json=TRAIN, headers={"Idempotency-Key": "k"}) for _ in range(2))
        assert (first.status_code, second.status_code) == (202, 202)
        assert first.json() == second.json()
        assert len(api.get("/v1/jobs").json()["items"]) == 1

    def test_the_same_key_for_another_job_is_a_conflict(self, api):
        api.post("/v1/jobs", json=TRAIN, headers={"Idempotency-Key": "k"})
        answer = api.post("/v1/jobs", json={**TRAIN, "epochs": 3}, headers={"Idempotency-Key": "k"})
        assert (answer.status_code, answer.json()["code"]) == (409, "conflict")

    def test_a_dry_run_answers_the_plan_and_stores_nothing(self, api):
        answer = api.post("/v1/jobs?dry_run=true", json=TRAIN)
        assert answer.status_code == 200
        assert PlanView.model_validate(answer.json()).placement[0].group == "gpu-spot"
        assert api.get("/v1/jobs").json()["items"] == []

    def test_a_list_is_paged_without_repeating_or_missing_any(self, api, plane):
        submitted = []
        for _ in range(5):
            plane.clock.advance(1)
            submitted.append(api.post("/v1/jobs", json=TRAIN).json()["id"])
        seen, params = [], {"limit": 2}
        while True:
            page = Page[JobView].model_validate(api.get("/v1/jobs", params=params).json())
            seen += [job.id for job in page.items]
            if page.next_cursor is None:
                break
            params["cursor"] = page.next_cursor
        assert seen == submitted[::-1]

    def test_a_list_is_filtered_by_states_kind_and_name(self, api):
        train, sweep = (api.post("/v1/jobs", json=spec).json()["id"] for spec in (TRAIN, SWEEP))
        api.post(f"/v1/jobs/{train}/stop")

        def found(query: str) -> list[str]:
            return [job["id"] for job in api.get(f"/v1/jobs?{query}").json()["items"]]

        assert found("state=STOPPED") == [train]
        assert sorted(found("state=STOPPED&state=QUEUED")) == sorted([train, sweep])
        assert found("kind=sweep") == [sweep]
        assert found("name=digits&state=QUEUED") == []

    def test_waiting_for_a_job_answers_when_it_has_ended(self, api, plane):
        job_id = api.post("/v1/jobs", json=TRAIN).json()["id"]
        assert api.get(f"/v1/jobs/{job_id}?wait=0.01").json()["state"] == "QUEUED"
        api.post(f"/v1/jobs/{job_id}/stop")
        assert api.get(f"/v1/jobs/{job_id}?wait=60").json()["state"] == "STOPPED"

    def test_a_second_stop_gives_the_same_answer(self, api, plane):
        job_id = plane.running()
        first, second = (api.post(f"/v1/jobs/{job_id}/stop") for _ in range(2))
        assert first.status_code == second.status_code == 202
        assert first.json() == second.json()
        assert first.json()["state"] == "STOPPING"

    def test_events_tell_what_happened(self, api, plane):
        job_id = plane.running()
        events = api.get(f"/v1/jobs/{job_id}/events").json()
        assert [event["kind"] for event in events] == ["QUEUED", "PENDING", "RUNNING"]

    def test_trials_are_those_of_the_sweep_even_when_a_metric_is_not_a_number(self, api, plane):
        job_id = api.post("/v1/jobs", json=SWEEP).json()["id"]
        plane.registry.add_trial("slipway", job_id, {"lr": "0.5"}, {"loss": float("nan")})
        assert api.get(f"/v1/jobs/{job_id}/trials").json()[0]["metrics"] == {"loss": "NaN"}

    def test_progress_is_shown(self, api, plane):
        job_id = plane.running()
        progress = {"done": 3, "total": 9, "unit": "steps", "metrics": {"loss": float("nan")}}
        plane.report(job_id, 1, status="running", progress=progress, mlflow_run_id="r")
        view = JobView.model_validate(api.get(f"/v1/jobs/{job_id}").json())
        assert (view.progress.done, view.mlflow_run_id) == (3, "r")


class TestLogs:
    def test_are_plain_text_and_name_the_attempt(self, api, plane):
        job_id = plane.running()
        plane.runner.write(f"{job_id}-1", "naïve\n")
        answer = api.get(f"/v1/jobs/{job_id}/logs")
        assert answer.text == "naïve\n"
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert answer.headers["slipway-attempt"] == "1"

    def test_are_followed_to_the_end_of_the_attempt(self, api, plane):
        job_id = plane.running()
        plane.runner.write(f"{job_id}-1", "one\ntwo\n")
        plane.runner.finish(f"{job_id}-1")
        answer = api.get(f"/v1/jobs/{job_id}/logs?follow=true")
        assert (answer.text, answer.headers["slipway-attempt"]) == ("one\ntwo\n", "1")

    @pytest.mark.parametrize("follow", ["true", "false"])
    def test_are_resumed_by_offset(self, api, plane, follow):
        job_id = plane.running()
        plane.runner.write(f"{job_id}-1", "one\ntwo\n")
        plane.end(job_id)
        assert api.get(f"/v1/jobs/{job_id}/logs?follow={follow}&offset=4").text == "two\n"

    def test_of_an_earlier_attempt_can_be_asked_for(self, api, plane):
        job_id = plane.running()
        plane.runner.lose_all()
        plane.tick()
        plane.tick()
        answer = api.get(f"/v1/jobs/{job_id}/logs?attempt=1")
        assert (answer.status_code, answer.headers["slipway-attempt"]) == (200, "1")
        assert api.get(f"/v1/jobs/{job_id}/logs?attempt=3").status_code == 404

    def test_of_a_job_that_is_not_there_are_not_found_before_anything_streams(self, api):
        assert api.get("/v1/jobs/nope/logs?follow=true").json()["code"] == "not-found"


class TestModels:
    @pytest.fixture(autouse=True)
    def _versions(self, plane):
        plane.registry.add_version("digits", metrics={"accuracy": 0.9})
        plane.registry.add_version("digits", metrics={"accuracy": 0.95})

    def test_are_listed_with_their_versions(self, api):
        assert [model["name"] for model in api.get("/v1/models").json()] == ["digits"]
        versions = api.get("/v1/models/digits/versions").json()
        assert [(one["version"], one["metrics"]["accuracy"]) for one in versions] == [(2, 0.95), (1, 0.9)]

    def test_are_promoted_with_and_without_a_body_and_rolled_back(self, api):
        assert api.post("/v1/models/digits/promote", json={"version": 1}).json()["aliases"] == {"champion": 1}
        promoted = api.post("/v1/models/digits/promote")
        assert promoted.json()["aliases"] == {"champion": 2, "previous": 1}
        assert api.post("/v1/models/digits/rollback").json()["aliases"] == {"champion": 1}
        again = api.post("/v1/models/digits/rollback")
        assert (again.status_code, again.json()["code"]) == (409, "conflict")

    def test_that_are_not_there_are_not_found(self, api):
        answer = api.get("/v1/models/digit/versions")
        assert answer.status_code == 404
        assert "did you mean 'digits'?" in answer.json()["detail"]

    def test_a_version_that_is_not_there_is_refused(self, api):
        answer = api.post("/v1/models/digits/promote", json={"version": 7})
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "version")


class TestDeployments:
    @pytest.fixture(autouse=True)
    def _champion(self, plane):
        plane.registry.add_version("digits")
        plane.models.promote("digits")

    def test_are_put_shown_listed_and_deleted(self, api, plane):
        put = api.put("/v1/deployments/reader", json={"model": "digits"})
        assert (put.status_code, put.json()["state"]) == (200, "DEPLOYING")
        assert put.json()["url"] == "/v2/models/reader"
        assert api.get("/v1/deployments/reader").json() == put.json()
        assert api.get("/v1/deployments").json() == [put.json()]
        assert api.delete("/v1/deployments/reader").status_code == 204
        plane.tick()
        assert api.get("/v1/deployments/reader").status_code == 404

    def test_deleting_what_is_gone_gets_the_same_answer(self, api):
        answers = [api.delete("/v1/deployments/reader") for _ in range(2)]
        assert [(answer.status_code, answer.content) for answer in answers] == [(204, b"")] * 2

    def test_a_name_that_cannot_be_one_is_refused(self, api):
        answer = api.put("/v1/deployments/Not_A_Name", json={"model": "digits"})
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "name")

    def test_a_model_that_does_not_exist_is_refused(self, api):
        answer = api.put("/v1/deployments/reader", json={"model": "digit"})
        assert answer.status_code == 422
        assert answer.json()["errors"] == [
            {"field": "model", "message": "no registered model 'digit'; did you mean 'digits'?"}
        ]


class TestCluster:
    def test_shows_every_worker_group(self, api, plane):
        plane.cluster.counts = {"gpu-spot": GroupCount(running=2, pending=1)}
        cluster = api.get("/v1/cluster").json()
        assert cluster["price_per_hour"] == pytest.approx(0.72)
        assert [(group["name"], group["workers"]) for group in cluster["worker_groups"]] == [
            ("gpu-spot", 2),
            ("gpu-ondemand", 0),
            ("cpu", 0),
        ]


class TestPackages:
    def test_an_upload_gives_the_name_that_a_job_takes(self, api):
        answer = api.post("/v1/packages", content=iter([a_zip()[:10], a_zip()[10:]]))
        assert answer.status_code == 201
        job = api.post("/v1/jobs", json={**TRAIN, "working_dir": answer.json()["package"]})
        assert job.status_code == 202

    def test_what_is_no_zip_is_refused(self, api):
        assert api.post("/v1/packages", content=b"hello").status_code == 422

    @pytest.mark.parametrize("content", [b"x" * 100_001, [b"x" * 60_000, b"x" * 60_000]])
    def test_what_is_too_large_is_refused_whether_or_not_it_says_so(self, api, content):
        answer = api.post("/v1/packages", content=content if isinstance(content, bytes) else iter(content))
        assert (answer.status_code, answer.json()["status"]) == (413, 413)
        assert "100000 bytes" in answer.json()["detail"]


class TestHealth:
    def test_is_told_to_anyone(self, anyone, plane):
        plane.tick()
        for path in ("/healthz", "/readyz", "/v2/health/live", "/v2/health/ready"):
            assert anyone.get(path).status_code == 200

    def test_the_platform_is_not_ready_without_a_reconciler(self, anyone):
        answer = anyone.get("/readyz")
        assert answer.status_code == 503
        assert "no reconciler" in answer.json()["detail"]

    def test_the_inference_server_describes_itself(self, api):
        assert api.get("/v2").json()["name"] == "slipway"


class TestInference:
    def test_a_model_that_nobody_deployed_is_told_in_the_protocols_form(self, api):
        for answer in (api.post("/v2/models/digits/infer", json={}), api.get("/v2/models/digits")):
            assert answer.status_code == 404
            assert "no deployment 'digits'" in answer.json()["error"]

    def test_a_deployment_that_is_not_ready_says_how_far_it_is(self, api, plane):
        plane.registry.add_version("digits")
        api.post("/v1/models/digits/promote")
        api.put("/v1/deployments/digits", json={"model": "digits"})
        answer = api.get("/v2/models/digits/ready")
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
        assert "DEPLOYING" in answer.json()["error"]
