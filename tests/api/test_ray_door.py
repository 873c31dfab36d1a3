"""Ray's own job API, without Ray: routes, bodies, statuses and words."""

import io
import zipfile

import pytest
from starlette.websockets import WebSocketDisconnect

from platform_app.domain.job import JobState
from platform_app.ports import RayJobStatus
from tests.control_plane import a_zip

JOBS = "/api/jobs/"
FAILURE = "Job entrypoint command failed with exit code 3, last available logs (truncated to 20,000 chars):\n"


def submit(api, **fields) -> str:
    answer = api.post(JOBS, json={"entrypoint": "python train.py", **fields})
    assert answer.status_code == 200, answer.text
    assert answer.json()["job_id"] == answer.json()["submission_id"]
    return answer.json()["submission_id"]


def run(plane, door_id: str) -> str:
    """Let a job begin, and give the id of its Ray job."""
    plane.tick()
    submission_id = plane.store.at_door(door_id).submission_id
    plane.runner.begin(submission_id)
    plane.tick()
    return submission_id


def test_the_version_is_that_of_the_ray_that_is_installed(api):
    import ray
    from ray.dashboard.modules.version import CURRENT_VERSION

    answer = api.get("/api/version").json()
    assert (answer["version"], answer["ray_version"]) == (CURRENT_VERSION, ray.__version__)


class TestSubmission:
    def test_makes_a_job_like_any_other(self, api):
        door_id = submit(api, submission_id="mine", metadata={"slipway.tier": "training-critical", "slipway.gpus": "2"})
        [job] = api.get("/v1/jobs").json()["items"]
        assert (door_id, job["kind"], job["tier"], job["team"]) == ("mine", "command", "training-critical", "default")
        assert job["spec"]["workers"]["num_workers"] == 2

    def test_without_an_id_gives_one(self, api):
        first, second = submit(api), submit(api)
        assert first != second
        assert api.get(JOBS + first).status_code == 200

    @pytest.mark.parametrize("name", ["submission_id", "job_id"])
    def test_with_an_id_that_is_taken_is_refused_in_rays_words(self, api, name):
        submit(api, **{name: "mine"})
        answer = api.post(JOBS, json={"entrypoint": "python train.py", name: "mine"})
        said = "Job with submission_id mine already exists. Please use a different submission_id."
        assert (answer.status_code, answer.text) == (500, said)

    @pytest.mark.parametrize(
        ("body", "words"),
        [
            ({}, "entrypoint: required"),
            ({"entrypoint": "ls", "entrypoint_num_gpus": 64}, "entrypoint_num_gpus: the largest worker has 1 GPUs"),
            ({"entrypoint": "ls", "metadata": {"slipway.gpus": "64"}}, "at most 6 such workers can exist"),
            ({"entrypoint": "ls", "metadata": {"slipway.tier": "urgent"}}, "metadata slipway.tier: no such tier"),
            ({"entrypoint": "ls", "runtime_env": {"working_dir": "gcs://a.zip"}}, "gcs://a.zip is not here"),
        ],
    )
    def test_that_can_never_run_is_refused_in_a_sentence(self, api, body, words):
        answer = api.post(JOBS, json=body)
        assert (answer.status_code, answer.headers["content-type"]) == (400, "text/plain; charset=utf-8")
        assert words in answer.text
        assert api.get(JOBS).json() == []

    def test_that_is_no_json_is_refused(self, api):
        assert api.post(JOBS, content=b"{entrypoint").status_code == 400

    def test_of_10_mb_is_refused_before_it_is_read(self, api):
        answer = api.post(JOBS, json={"entrypoint": "x" * 10_000_000})
        assert (answer.status_code, "larger than" in answer.text) == (413, True)


class TestAJob:
    def test_is_shown_as_rays_client_reads_it(self, api, plane):
        from ray.job_submission import JobDetails

        door_id = submit(api, metadata={"a": "b"}, runtime_env={"env_vars": {"A": "1"}})
        shown = JobDetails(**api.get(JOBS + door_id).json())
        assert (shown.type, shown.status, shown.submission_id) == ("SUBMISSION", "PENDING", door_id)
        assert (shown.entrypoint, shown.metadata) == ("python train.py", {"a": "b"})
        assert shown.runtime_env == {"env_vars": {"A": "1"}}
        assert [JobDetails(**one) for one in api.get(JOBS).json()] == [shown]

    def test_says_why_it_waits(self, api, plane):
        submit(api, metadata={"slipway.gpus": "6"})
        plane.tick()
        waiting = submit(api, metadata={"slipway.gpus": "6"})
        plane.tick()
        message = api.get(JOBS + waiting).json()["message"]
        assert message.startswith("Job has not started yet. ")
        assert "waits" in message

    def test_that_failed_has_its_exit_code_and_the_end_of_its_output(self, api, plane):
        door_id = submit(api)
        submission_id = run(plane, door_id)
        plane.runner.write(submission_id, "".join(f"line {number}\n" for number in range(1, 21)))
        plane.runner.finish(submission_id, RayJobStatus.FAILED, FAILURE)
        plane.tick()
        shown = api.get(JOBS + door_id).json()
        assert (shown["status"], shown["driver_exit_code"]) == ("FAILED", 3)
        assert shown["error_type"] == "JOB_ENTRYPOINT_COMMAND_ERROR"
        assert shown["message"] == FAILURE + "".join(f"line {number}\n" for number in range(11, 21))
        assert shown["end_time"] > shown["start_time"]

    def test_that_came_by_another_door_is_here_too(self, api, plane):
        job_id = plane.running()
        shown = api.get(JOBS + job_id).json()
        assert (shown["submission_id"], shown["status"]) == (job_id, "RUNNING")
        assert shown["entrypoint"].startswith("python -m jobs.train")

    def test_keeps_its_id_over_its_attempts(self, api, plane):
        door_id = submit(api, submission_id="mine")
        plane.runner.finish(run(plane, door_id), RayJobStatus.FAILED, "Job supervisor actor died: the node was lost")
        plane.tick()
        plane.tick()
        assert api.get(JOBS + "mine").json()["status"] == "PENDING"
        assert run(plane, door_id).endswith("-2")
        assert api.get(JOBS + "mine").json()["status"] == "RUNNING"

    @pytest.mark.parametrize(("method", "path"), [("GET", ""), ("GET", "/logs"), ("POST", "/stop"), ("DELETE", "")])
    def test_that_is_not_there_is_told_of_in_rays_words(self, api, method, path):
        answer = api.request(method, f"{JOBS}nothing{path}")
        assert (answer.status_code, answer.text) == (404, "Job nothing does not exist")


class TestAStop:
    def test_says_whether_there_was_anything_to_stop(self, api, plane):
        door_id = submit(api)
        run(plane, door_id)
        assert api.post(f"{JOBS}{door_id}/stop").json() == {"stopped": True}
        plane.end(plane.store.at_door(door_id).id, RayJobStatus.STOPPED)
        assert api.post(f"{JOBS}{door_id}/stop").json() == {"stopped": False}
        assert api.get(JOBS + door_id).json()["message"] == "Job was intentionally stopped."

    def test_of_a_job_that_waits_ends_it(self, api):
        door_id = submit(api)
        assert api.post(f"{JOBS}{door_id}/stop").json() == {"stopped": True}
        assert api.get(JOBS + door_id).json()["status"] == "STOPPED"


class TestADeletion:
    def test_lets_a_job_be_known_here_no_more_but_in_the_ledger(self, api, plane):
        door_id = submit(api, submission_id="mine")
        api.post(f"{JOBS}{door_id}/stop")
        job_id = plane.store.at_door("mine").id
        assert api.delete(JOBS + "mine").json() == {"deleted": True}
        assert api.get(JOBS + "mine").status_code == 404
        assert api.get(JOBS).json() == []
        assert api.get(f"/v1/jobs/{job_id}").json()["state"] == "STOPPED"
        assert api.get(f"/v1/jobs/{job_id}/events").json()[-1]["kind"] == "deleted"
        assert submit(api, submission_id="mine") == "mine"

    def test_of_a_job_that_has_not_ended_is_refused_in_rays_words(self, api, plane):
        door_id = submit(api, submission_id="mine")
        run(plane, door_id)
        answer = api.delete(JOBS + "mine")
        said = "Attempted to delete job 'mine', but it is in a non-terminal state RUNNING."
        assert (answer.status_code, answer.text) == (500, said)


class TestOutput:
    def test_is_that_of_all_attempts(self, api, plane):
        door_id = submit(api)
        first = run(plane, door_id)
        plane.runner.write(first, "one\n")
        plane.runner.finish(first, RayJobStatus.FAILED, "Job supervisor actor died: the node was lost")
        plane.tick()
        second = run(plane, door_id)
        plane.runner.write(second, "two\n")
        assert api.get(f"{JOBS}{door_id}/logs").json() == {"logs": "one\ntwo\n"}

    def test_is_followed_from_the_queue_over_all_attempts_to_the_end(self, api, plane, monkeypatch):
        door_id = submit(api)
        job_id, tick = plane.store.at_door(door_id).id, plane.tick

        def time_passes(seconds=1):
            tick(seconds)
            waiting = [one for one in plane.runner.alive() if one.startswith(job_id)]
            for submission_id in waiting:
                first = submission_id.endswith("-1")
                plane.runner.write(submission_id, "naïve\n" if first else "again\n")
                lost = (RayJobStatus.FAILED, "Job supervisor actor died: the node was lost")
                plane.runner.finish(submission_id, *(lost if first else ()))

        monkeypatch.setattr(plane, "tick", time_passes)
        seen = []
        with api.websocket_connect(f"{JOBS}{door_id}/logs/tail") as socket:
            while (message := socket.receive())["type"] == "websocket.send":
                seen.append(message["text"])
        assert ("".join(seen), message["code"]) == ("naïve\nagain\n", 1000)
        assert plane.job(job_id).state is JobState.SUCCEEDED

    def test_of_what_is_not_there_is_refused_before_the_socket_opens(self, api):
        with pytest.raises(WebSocketDisconnect), api.websocket_connect(f"{JOBS}nothing/logs/tail"):
            pass

    def test_is_not_for_those_without_a_token(self, api, plane):
        door_id = submit(api)
        del api.headers["Authorization"]
        with pytest.raises(WebSocketDisconnect), api.websocket_connect(f"{JOBS}{door_id}/logs/tail"):
            pass


class TestPackages:
    PATH = "/api/packages/gcs/_ray_pkg_1.zip"

    def test_are_known_once_they_were_uploaded_and_go_along(self, api, plane):
        assert api.get(self.PATH).status_code == 404
        assert api.put(self.PATH, content=a_zip()).status_code == 200
        assert api.get(self.PATH).status_code == 200
        door_id = submit(api, runtime_env={"working_dir": "gcs://_ray_pkg_1.zip"})
        uri = plane.runner.requests[run(plane, door_id)].runtime_env["working_dir"]
        assert zipfile.ZipFile(uri.removeprefix("file://")).namelist() == ["mine.py"]
        assert api.get(JOBS + door_id).json()["runtime_env"] == {"working_dir": "gcs://_ray_pkg_1.zip"}

    def test_may_hold_what_the_platform_calls_its_own(self, api):
        assert api.put(self.PATH, content=a_zip("jobs/train.py")).status_code == 200

    def test_of_another_team_are_not_there(self, api, made):
        api.put(self.PATH, content=a_zip())
        assert api.get(self.PATH, headers=made("research")).status_code == 404

    def test_a_job_runs_what_was_uploaded_when_it_was_submitted(self, api, plane):
        api.put(self.PATH, content=a_zip())
        door_id = submit(api, runtime_env={"working_dir": "gcs://_ray_pkg_1.zip"})
        api.put(self.PATH, content=a_zip("other.py"))
        uri = plane.runner.requests[run(plane, door_id)].runtime_env["working_dir"]
        assert zipfile.ZipFile(uri.removeprefix("file://")).namelist() == ["mine.py"]

    @pytest.mark.parametrize(
        "path",
        [
            "/api/packages/gcs/..",
            "/api/packages/gcs/..%2F..%2Fx.zip",
            "/api/packages/gcs/%2Fetc%2Fpasswd.zip",
            "/api/packages/gcs/.hidden.zip",
            "/api/packages/gcs/a%00b.zip",
            "/api/packages/gcs/a%5C..%5Cb.zip",
            "/api/packages/gcs/x.tar.gz",
            "/api/packages/gcs/" + "x" * 300 + ".zip",
            "/api/packages/file/x.zip",
            "/api/packages/https/x.zip",
        ],
    )
    def test_with_tricks_in_their_names_are_refused_and_leave_nothing(self, api, plane, path):
        assert api.put(path, content=a_zip()).status_code in (400, 404, 405)
        assert api.get(path).status_code == 404
        kept = [path for path in (plane.folder / "storage").rglob("*") if path.is_file()]
        assert kept == []

    def test_that_are_too_large_are_refused_with_the_limit(self, api, plane):
        body = io.BytesIO(b"x" * 200_000)
        claimed = api.put(self.PATH, content=body.getvalue())
        streamed = api.put(self.PATH, content=iter([b"x" * 50_000] * 4))
        for answer in (claimed, streamed):
            assert (answer.status_code, "larger than the 100000 bytes" in answer.text) == (413, True)
        assert api.get(self.PATH).status_code == 404

    def test_that_are_no_zip_are_refused(self, api):
        answer = api.put(self.PATH, content=b"not a zip")
        assert (answer.status_code, answer.text) == (400, "working_dir: the body is not a zip file")


class TestTokens:
    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("GET", "/api/version"),
            ("GET", "/api/packages/gcs/x.zip"),
            ("PUT", "/api/packages/gcs/x.zip"),
            ("GET", JOBS),
            ("POST", JOBS),
            ("GET", JOBS + "x"),
            ("DELETE", JOBS + "x"),
            ("POST", JOBS + "x/stop"),
            ("GET", JOBS + "x/logs"),
        ],
    )
    @pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}])
    def test_are_needed_everywhere(self, anyone, method, path, headers):
        assert anyone.request(method, path, headers=headers).status_code == 401

    def test_are_taken_as_ray_passes_them(self, anyone, token):
        assert anyone.get(JOBS, headers={"X-Ray-Authorization": f"Bearer {token}"}).status_code == 200

    def test_of_another_team_see_nothing(self, api, made):
        door_id = submit(api, submission_id="mine")
        theirs = made("research")
        assert api.get(JOBS, headers=theirs).json() == []
        for method, path in (("GET", ""), ("GET", "/logs"), ("POST", "/stop"), ("DELETE", "")):
            assert api.request(method, f"{JOBS}{door_id}{path}", headers=theirs).status_code == 404
        answer = api.post(JOBS, json={"entrypoint": "ls", "submission_id": "mine"}, headers=theirs)
        assert answer.status_code == 200

    def test_of_viewers_look_and_do_no_more(self, api, made):
        door_id = submit(api)
        viewer = made("default", "viewer")
        assert api.get(JOBS + door_id, headers=viewer).status_code == 200
        for method, path in (("POST", JOBS), ("POST", f"{JOBS}{door_id}/stop"), ("PUT", TestPackages.PATH)):
            assert api.request(method, path, headers=viewer).status_code == 403
