"""The `slipway` command against the real API over real HTTP: what people read, what scripts get."""

import io
import json
import sys
from datetime import timedelta

import pytest

from platform_app.cli.main import main
from platform_app.ports import RayJobStatus
from platform_app.specs import AttemptStatus, Overuse
from tests.client.conftest import TOKEN
from tests.control_plane import sweep_spec
from tests.service import explained as inject

SPEC = "name: digits\nworkload: jobs.workloads.digits:make\nresources: {num_workers: 2}\n"


@pytest.fixture
def slipway(url, monkeypatch, capsys, tmp_path):
    """Run the command and give its exit code, output and complaints."""
    monkeypatch.setenv("SLIPWAY_URL", url)
    monkeypatch.setenv("SLIPWAY_TOKEN", TOKEN)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["slipway", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return ended.value.code or 0, captured.out, captured.err

    return run


@pytest.fixture
def spec(tmp_path):
    path = tmp_path / "job.yaml"
    path.write_text(SPEC)
    return path


def test_a_detached_submission_prints_the_job_for_scripts_and_the_next_step_for_people(slipway, spec):
    code, out, _ = slipway("submit", spec, "--detach", "--json")
    assert (code, json.loads(out)["state"]) == (0, "QUEUED")
    code, out, _ = slipway("submit", spec, "--detach")
    assert code == 0
    assert "Next: slipway logs -f digits-" in out


def test_a_job_shows_what_interruptions_cost_it(slipway, plane):
    job_id, at = plane.running(), plane.clock.now()
    cost = {"at": at, "cause": "notice", "num_workers": 2, "steps_lost": 0, "seconds": 10, "gpu_seconds_lost": 20}
    progress = {"done": 9, "total": 99, "unit": "steps", "began_at": at, "at": at + timedelta(seconds=100)}
    plane.report(job_id, 1, status=AttemptStatus.RUNNING, progress=progress, interruptions=[cost])
    code, out, _ = slipway("job", job_id)
    assert code == 0
    assert "notice: 0 steps and 20.0 GPU-seconds lost; went on after 10.0 s with 2 workers" in out
    assert "goodput 90.0%: 0 steps and 20.0 GPU-seconds lost in all" in out


def test_a_dry_run_shows_where_and_for_how_much(slipway, spec):
    code, out, _ = slipway("submit", spec, "--dry-run")
    assert code == 0
    assert "gpu-spot" in out
    assert "$0.72 per hour" in out
    assert "it would start at once" in out
    assert "$7.20 for 10 hours" in slipway("submit", spec, "--dry-run", "--hours", 10)[1]


class Person(io.StringIO):
    """Standard input of someone at a terminal."""

    def isatty(self):
        return True


@pytest.mark.parametrize(("answer", "flags", "stored"), [("n\n", (), 0), ("y\n", (), 1), ("", ("--yes",), 1)])
def test_a_person_sees_the_plan_and_is_asked_before_anything_is_stored(
    slipway, spec, platform, monkeypatch, answer, flags, stored
):
    monkeypatch.setattr(sys, "stdin", Person(answer))
    code, out, _ = slipway("submit", spec, "--detach", *flags)
    assert "price: $0.72 per hour" in out
    assert ("Submit it?" in out) == (not flags)
    assert code == (0 if stored else 1)
    assert len(platform.jobs().items) == stored


def test_a_script_is_not_asked(slipway, spec, platform, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    assert slipway("submit", spec, "--detach")[0] == 0
    assert len(platform.jobs().items) == 1


def test_a_refusal_names_the_field_and_exits_with_2(slipway, spec):
    spec.write_text(SPEC.replace("num_workers: 2", "num_workers: 99"))
    code, _, err = slipway("submit", spec)
    assert code == 2
    assert "resources.num_workers: at most 6 such workers" in err


def test_yaml_that_is_not_is_said_without_a_stack_trace(slipway, spec):
    spec.write_text("name: [")
    code, _, err = slipway("submit", spec)
    assert code == 2
    assert "job.yaml" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("status", "code", "words"), [(RayJobStatus.SUCCEEDED, 0, "SUCCEEDED"), (RayJobStatus.FAILED, 1, "FAILED")]
)
def test_a_watched_job_gives_its_end_as_exit_code(slipway, spec, plane, monkeypatch, status, code, words):
    job = json.loads(slipway("submit", spec, "--detach", "--json", "--idempotency-key", "k")[1])["id"]
    plane.tick()
    plane.runner.write(f"{job}-1", "something went wrong here\n")
    plane.end(job, status)
    given, out, _ = slipway("submit", spec, "--idempotency-key", "k")
    assert given == code
    assert words in out
    assert ("something went wrong here" in out) == (status is RayJobStatus.FAILED)


def test_lists_say_what_to_do_when_they_are_empty(slipway):
    assert "slipway submit" in slipway("jobs")[1]
    assert "slipway deploy" in slipway("deployments")[1]


def test_jobs_logs_events_and_stop(slipway, plane):
    job = plane.running()
    plane.runner.write(f"{job}-1", "epoch 1\n")
    assert job in slipway("jobs")[1]
    assert slipway("logs", job)[1] == "epoch 1\n"
    assert "RUNNING" in slipway("job", job)[1]
    assert "submitted" in slipway("events", job)[1]
    assert json.loads(slipway("stop", job, "--json")[1])["state"] == "STOPPING"


def test_a_sweeps_trials_are_listed(slipway, plane):
    job = plane.jobs.submit(sweep_spec()).id
    plane.registry.add_trial("slipway", job, params={"lr": "0.1"}, metrics={"accuracy": 0.9})
    code, out, _ = slipway("trials", job)
    assert code == 0
    assert "lr=0.1" in out
    assert "accuracy=0.9" in out


def test_models_and_deployments_by_name(slipway, plane):
    plane.registry.add_version("digits")
    assert "champion → 1" in slipway("promote", "digits")[1]
    assert "champion → 1" in slipway("models")[1]
    assert slipway("models", "digits")[0] == 0
    assert slipway("deploy", "digits", "--detach")[0] == 0
    assert "DEPLOYING" in slipway("deployments")[1]
    assert slipway("undeploy", "digits")[0] == 0
    assert slipway("rollback", "digits")[0] == 2


def test_the_cluster_is_shown_with_its_price(slipway):
    code, out, _ = slipway("cluster")
    assert code == 0
    assert "gpu-ondemand" in out
    assert "now: $0.00 per hour" in out


def test_exit_codes_tell_what_is_not_there_from_a_wrong_token(slipway, monkeypatch):
    assert slipway("job", "nothing")[0] == 3
    monkeypatch.setenv("SLIPWAY_TOKEN", "wrong")
    code, _, err = slipway("jobs")
    assert code == 4
    assert "Authorization: Bearer" in err


@pytest.mark.parametrize("words", [(), ("submit",), ("deploy",), ("up",)])
def test_help_teaches(slipway, words):
    code, out, _ = slipway(*words, "--help")
    assert code == 0
    assert len(out.splitlines()) > 8


def test_why_says_the_reason_what_helps_and_what_says_so(slipway, plane):
    job = inject.behind(plane)
    code, out, _ = slipway("why", job)
    assert code == 0
    assert "it needs 1 free worker(s) at once: 4 of 4 of gpu-spot are taken" in out
    assert "wait: nothing is known of how long" in out
    assert "number 1 of 1 in the queue" in out
    assert json.loads(slipway("why", job, "--json")[1])["cause"] == "groups-full"
    assert slipway("why", "nothing")[0] == 3


def test_why_shows_what_could_be_had_and_what_ended_it(slipway, plane):
    assert "resources.market: prefer-spot: $2.02 per hour" in slipway("why", inject.spot_only(plane))[1]
    plane.cluster.counts = {}
    failed = inject.ended(reported="user-code-failed", says="worker 0: ValueError: too big")(plane)
    out = slipway("why", failed)[1]
    assert "its own code failed: worker 0: ValueError: too big" in out
    assert "wait:" not in out


def test_teams_get_a_quota_and_a_token_that_lets_in_until_it_is_revoked(slipway, monkeypatch):
    made = slipway("teams", "set", "vision", "--gpus", "A10G=2", "--jobs", "3", "--borrow")[1]
    assert "vision: A10G 2, jobs 3, may borrow. Next: slipway tokens add" in made
    token, told = slipway("tokens", "add", "ci", "--team", "vision", "--role", "viewer")[1].splitlines()[:2]
    token_id = told.partition(":")[0]
    with monkeypatch.context() as theirs:
        theirs.setenv("SLIPWAY_TOKEN", token)
        assert "vision" in slipway("teams", "list")[1]
        assert slipway("teams", "set", "vision")[0] == 4
    assert token not in slipway("tokens", "list")[1]
    assert "lets nobody in" in slipway("tokens", "revoke", token_id)[1]
    assert "put_team" in slipway("audit")[1]


def test_a_team_says_what_becomes_of_commands_that_take_more_than_they_declared(slipway, platform):
    assert "strict: no bounds, stopped for overuse" in slipway("teams", "set", "strict", "--overuse", "stop")[1]
    assert platform.teams()[-1].quota.overuse is Overuse.STOP
    slipway("teams", "set", "strict")
    assert platform.teams()[-1].quota.overuse is Overuse.WARN
    code, _, err = slipway("teams", "set", "strict", "--overuse", "kill")
    assert code == 2
    assert "'warn', 'stop'" in err
    told = " ".join(slipway("teams", "set", "--help")[1].split())
    assert "more GPUs than it declared" in told
