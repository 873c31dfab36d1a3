"""`slipway up`, `down`, `status` and `env`, as far as they go without starting anything."""

import fcntl
import json
import os
import shlex
import sys
from datetime import UTC, datetime

import pytest
import typer
from typer.testing import CliRunner

from platform_app.cli import cluster
from platform_app.errors import PermanentError
from platform_app.local.components import KEEPER
from platform_app.local.network import reserved_ports
from platform_app.local.processes import mark, spawn
from platform_app.local.state import ClusterState, cluster_id, read_state, write_state

app = typer.Typer()
cluster.register(app)


def slipway(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def home(tmp_path):
    return tmp_path / "a home"


@pytest.fixture
def state(home):
    """A cluster by its file alone: nothing of it runs."""
    home.mkdir()
    with reserved_ports() as ports:
        state = ClusterState(
            cluster_id=cluster_id(home),
            home=home,
            started_at=datetime.now(UTC),
            ports=ports,
            api_token="api secret",
            ray_token="ray secret",
            ready=True,
        )
    write_state(state)
    return state


def test_down_where_nothing_is_up_says_so_and_is_content(home):
    for _ in range(2):
        result = slipway("down", "--home", home)
        assert (result.exit_code, result.stderr) == (0, f"Nothing is up in {home}.\n")


def test_down_forgets_a_cluster_whose_processes_are_gone(home, state):
    result = slipway("down", "--home", home)
    assert result.exit_code == 0
    assert f"The cluster of {home} is down" in result.stderr
    assert read_state(home) is None
    assert "Nothing is up" in slipway("down", "--home", home).stderr


def test_status_where_nothing_is_up_says_how_to_start(home):
    result = slipway("status", "--home", home)
    assert result.exit_code == 1
    assert result.stderr == f"Nothing is up in {home}. Start it with: slipway up\n"


def test_status_for_scripts_is_json_and_holds_no_secret(home, state):
    result = slipway("status", "--json", "--home", home)
    report = json.loads(result.stdout)
    assert result.exit_code == 1
    assert report["up"] is False
    assert report["answers"] == {"API": False, "MLflow": False, "Ray": False}
    assert report["api_url"] == state.api_url
    assert "secret" not in result.stdout
    assert json.loads(slipway("status", "--json", "--home", home / "none").stdout)["up"] is False


def test_status_names_the_parts_that_do_not_answer(home, state):
    assert "No answer from API, MLflow, Ray" in slipway("status", "--home", home).stdout


def test_status_says_that_the_keeper_does_not_run_and_what_starts_it(home, state):
    state.keeper_note.write_text("watches")  # said by one that was killed
    assert "does not run; `slipway up` starts it" in slipway("status", "--home", home).stdout
    assert "does not run" in json.loads(slipway("status", "--json", "--home", home).stdout)["keeper"]


def test_status_tells_what_the_keeper_says(home, state, tmp_path):
    state.keeper_note.write_text("Ray did not start again (3 in a row; next in 4 s): no room")
    environment = {**os.environ, **mark(state.cluster_id, KEEPER)}
    keeper = spawn((sys.executable, "-c", "import time; time.sleep(60)"), environment, tmp_path / "log", tmp_path)
    assert "Ray did not start again (3 in a row" in slipway("status", "--home", home).stdout
    keeper.kill()
    keeper.wait()


def test_env_prints_exports_that_a_shell_understands(home, state):
    result = slipway("env", "--home", home)
    assert result.exit_code == 0
    lines = [shlex.split(line) for line in result.stdout.splitlines()]
    assert {line[0] for line in lines} == {"export"}
    assert dict(line[1].split("=", 1) for line in lines) == state.shell_environment()


def test_env_where_nothing_is_up_prints_nothing_to_evaluate(home):
    result = slipway("env", "--home", home)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "slipway up --detach" in result.stderr


def test_up_in_a_place_that_cannot_be_written_names_it(tmp_path):
    (tmp_path / "file").write_text("")
    error = slipway("up", "--home", tmp_path / "file" / "home").exception
    assert isinstance(error, PermanentError)
    assert "cannot write to" in str(error)
    assert "--home" in str(error)


def test_up_with_a_file_that_is_no_catalog_starts_nothing(home, tmp_path):
    (tmp_path / "catalog.yaml").write_text("worker_groups: []")
    error = slipway("up", "--home", home, "--catalog", tmp_path / "catalog.yaml").exception
    assert isinstance(error, PermanentError)
    assert "is no catalog" in str(error)
    assert not home.exists()


def test_up_while_another_up_is_at_work_says_so(home):
    home.mkdir()
    with (home / "up.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        error = slipway("up", "--home", home).exception
    assert isinstance(error, PermanentError)
    assert "another `slipway up`" in str(error)


def test_up_on_a_demanded_port_that_is_taken_leaves_nothing(home):
    with reserved_ports() as ports:
        error = slipway("up", "--home", home, "--http-port", ports.api).exception
    assert isinstance(error, PermanentError)
    assert f"port {ports.api} is taken" in str(error)
    assert read_state(home) is None
