"""Ray's own clients, unmodified: the same tests against a bare Ray dashboard and against the platform's door.

The dashboard is that of the platform's own cluster, asked past the platform with the cluster's own token.
"""

import asyncio
import json
import os
import subprocess
import sys
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from ray.job_submission import JobStatus, JobSubmissionClient

from tests.running import Running, eventually

pytestmark = [pytest.mark.ray, pytest.mark.timeout(400)]

RAY = str(Path(sys.executable).with_name("ray"))
SECONDS = 240


@dataclass
class Server:
    """Something that Ray's clients talk to, and jobs that all tests of it look at."""

    name: str
    url: str
    token: str
    ids: dict[str, str] = field(default_factory=dict)

    @property
    def client(self) -> JobSubmissionClient:
        return JobSubmissionClient(self.url, headers={"Authorization": f"Bearer {self.token}"})

    def cli(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run `ray job …` as a person does, with the token as Ray passes tokens."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "SLIPWAY_"))}
        ours = {"RAY_API_SERVER_ADDRESS": self.url, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.token}
        return subprocess.run(
            [RAY, "job", *words], env={**kept, **ours, **environment}, capture_output=True, text=True, timeout=300
        )

    def wait(self, submission_id: str, *wanted: JobStatus) -> JobStatus:
        """Wait until a job has one of these states; without any, until it has ended."""
        wanted = wanted or (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.STOPPED)

        def status() -> JobStatus | None:
            now = self.client.get_job_status(submission_id)
            return now if now in wanted else None

        return eventually(status, SECONDS)


@pytest.fixture(scope="module", params=["ray", "door"])
def server(request, running: Running):
    """Give a server with three jobs: one that succeeds by its code and packages, one that fails, one that runs."""
    state = running.state
    url, token = (state.dashboard_url, state.ray_token) if request.param == "ray" else (state.api_url, state.api_token)
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    server = Server(request.param, url, token)
    client = server.client
    code = request.getfixturevalue("code")
    server.ids["good"] = client.submit_job(
        entrypoint='python src/train.py && echo "$GREETING"',
        submission_id=f"good-{uuid.uuid4().hex[:6]}",
        runtime_env={"working_dir": str(code), "env_vars": {"GREETING": "héllo"}},
        metadata={"team": "vision"},
    )
    server.ids["bad"] = client.submit_job(entrypoint="echo before; exit 7")
    server.ids["long"] = client.submit_job(entrypoint="echo begun; sleep 600")
    return server


@pytest.fixture(scope="module")
def code(tmp_path_factory):
    """Give a working directory that holds nothing but a folder, which Ray must keep."""
    folder = tmp_path_factory.mktemp("code")
    (folder / "src").mkdir()
    (folder / "src" / "train.py").write_text("import os\nprint('trained in', os.path.basename(os.getcwd()) != 'src')\n")
    return folder


def test_the_version_is_rays(server):
    assert server.client.get_version() == "4"


def test_a_job_with_a_working_directory_succeeds_and_is_told_of(server):
    submission_id = server.ids["good"]
    assert server.wait(submission_id) is JobStatus.SUCCEEDED
    info = server.client.get_job_info(submission_id)
    assert (info.type, info.submission_id, info.metadata) == ("SUBMISSION", submission_id, {"team": "vision"})
    assert (info.message, info.driver_exit_code, info.error_type) == ("Job finished successfully.", 0, None)
    assert info.entrypoint == 'python src/train.py && echo "$GREETING"'
    assert info.runtime_env["working_dir"].startswith("gcs://_ray_pkg_")
    assert info.runtime_env["env_vars"] == {"GREETING": "héllo"}
    assert 0 < info.end_time - info.start_time < 1000 * SECONDS
    logs = server.client.get_job_logs(submission_id)
    assert "trained in True\nhéllo\n" in logs


def test_a_job_that_fails_has_its_exit_code_and_the_end_of_its_output(server):
    submission_id = server.ids["bad"]
    assert server.wait(submission_id) is JobStatus.FAILED
    info = server.client.get_job_info(submission_id)
    assert (info.driver_exit_code, info.error_type) == (7, "JOB_ENTRYPOINT_COMMAND_ERROR")
    assert info.message.startswith("Job entrypoint command failed with exit code 7, last available logs")
    assert "before\n" in info.message


def test_output_is_followed_to_the_end(server):
    async def tail(submission_id: str) -> str:
        return "".join([piece async for piece in server.client.tail_job_logs(submission_id)])

    for name in ("good", "bad"):
        assert asyncio.run(tail(server.ids[name])) == server.client.get_job_logs(server.ids[name])


def test_all_jobs_are_listed_in_one_form(server):
    listed = {job.submission_id: job for job in server.client.list_jobs()}
    assert set(server.ids.values()) <= listed.keys()
    assert listed[server.ids["good"]].status == "SUCCEEDED"


def test_a_taken_id_is_refused(server):
    with pytest.raises(RuntimeError, match=rf"status code 500(.|\n)*{server.ids['good']} already exists"):
        server.client.submit_job(entrypoint="echo hi", submission_id=server.ids["good"])


def test_what_is_not_there_is_not_there(server):
    client = server.client
    for ask in (client.get_job_info, client.get_job_logs, client.stop_job, client.delete_job):
        with pytest.raises(RuntimeError, match="status code 404: Job nothing does not exist"):
            ask("nothing")


def test_a_running_job_is_stopped_once_and_deleted_after(server):
    client, submission_id = server.client, server.ids["long"]
    server.wait(submission_id, JobStatus.RUNNING)
    with pytest.raises(RuntimeError, match=r"status code 500(.|\n)*non-terminal state RUNNING"):
        client.delete_job(submission_id)
    assert client.stop_job(submission_id) is True
    assert server.wait(submission_id) is JobStatus.STOPPED
    assert client.get_job_info(submission_id).message == "Job was intentionally stopped."
    eventually(lambda: client.stop_job(submission_id) is False, 30)
    assert client.delete_job(submission_id) is True
    assert submission_id not in {job.submission_id for job in client.list_jobs()}


def test_the_command_line_submits_follows_and_exits_as_the_job_did(server, code):
    # One after the other: each start of `ray` costs seconds.
    name = f"cli-{uuid.uuid4().hex[:6]}"
    done = server.cli("submit", "--submission-id", name, "--working-dir", str(code), "--", "python", "src/train.py")
    assert (done.returncode, "trained in True" in done.stdout) == (0, True), done.stdout + done.stderr
    assert f"Job '{name}' succeeded" in done.stdout
    failed = server.cli("submit", "--metadata-json", json.dumps({"k": "v"}), "--", "bash", "-c", "echo said; exit 3")
    assert (failed.returncode, "said" in failed.stdout) == (1, True), failed.stdout + failed.stderr
    assert "exit code 3" in failed.stdout + failed.stderr


@pytest.mark.long
def test_the_command_line_looks_stops_and_deletes(server):
    name = f"cli-{uuid.uuid4().hex[:6]}"
    begun = server.cli("submit", "--no-wait", "--submission-id", name, "--", "bash", "-c", "echo begun; sleep 600")
    assert (begun.returncode, f"Job '{name}' submitted successfully" in begun.stdout) == (0, True), begun.stderr
    server.wait(name, JobStatus.RUNNING)
    assert "RUNNING" in server.cli("status", name).stdout
    refused = server.cli("delete", name)
    assert (refused.returncode, "non-terminal state" in refused.stderr) == (1, True)
    stopped = server.cli("stop", name)
    assert (stopped.returncode, "was stopped" in stopped.stdout + stopped.stderr) == (0, True)
    followed = server.cli("logs", "--follow", name)
    assert (followed.returncode, "begun" in followed.stdout) == (0, True), followed.stderr
    assert f"submission_id='{name}'" in server.cli("list").stdout
    assert server.cli("delete", name).returncode == 0
    assert server.cli("status", name).returncode == 1


def test_the_command_line_without_a_right_token_is_told_so(server):
    for token in ("wrong", ""):
        refused = server.cli("list", RAY_AUTH_TOKEN=token) if token else server.cli("list", RAY_AUTH_MODE="disabled")
        assert refused.returncode == 1
        assert "AuthenticationError" in refused.stderr or "Authentication" in refused.stderr
    told = server.cli(
        "list", "--headers", json.dumps({"Authorization": f"Bearer {server.token}"}), RAY_AUTH_MODE="disabled"
    )
    assert told.returncode == 0, told.stderr
