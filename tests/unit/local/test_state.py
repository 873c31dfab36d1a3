"""The file by which a cluster is found."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from platform_app.errors import PermanentError
from platform_app.local.state import (
    ClusterState,
    Ports,
    cluster_id,
    find_state,
    read_state,
    remove_state,
    resolve_home,
    write_state,
)


def a_state(home, **changes):
    values = {
        "cluster_id": cluster_id(home),
        "home": home,
        "started_at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        "ports": Ports(api=8001),
        "api_token": "api secret",
        "ray_token": "ray secret",
    }
    return ClusterState(**(values | changes))


def test_what_is_written_is_read(tmp_path):
    write_state(a_state(tmp_path))
    assert read_state(tmp_path) == a_state(tmp_path)


def test_the_file_is_for_its_owner_alone(tmp_path):
    write_state(a_state(tmp_path))
    write_state(a_state(tmp_path, ready=True))
    assert [path.stat().st_mode & 0o777 for path in tmp_path.iterdir()] == [0o600]


def test_a_cut_off_write_harms_neither_the_file_nor_the_next_write(tmp_path):
    write_state(a_state(tmp_path))
    (tmp_path / "cluster.new").write_text("{")
    assert read_state(tmp_path) == a_state(tmp_path)
    write_state(a_state(tmp_path, ready=True))
    assert read_state(tmp_path) == a_state(tmp_path, ready=True)


def test_no_file_is_no_cluster(tmp_path):
    assert read_state(tmp_path) is None
    remove_state(tmp_path)
    assert read_state(tmp_path / "nowhere") is None


def test_a_cluster_that_still_starts_is_not_found(tmp_path):
    write_state(a_state(tmp_path))
    assert find_state(tmp_path) is None
    write_state(a_state(tmp_path, ready=True))
    assert find_state(tmp_path) == a_state(tmp_path, ready=True)


@pytest.mark.parametrize("content", ["", "{}", "not json"])
def test_a_file_that_is_no_state_is_refused_with_what_to_do(tmp_path, content):
    (tmp_path / "cluster.json").write_text(content)
    with pytest.raises(PermanentError, match="Delete it, then run `slipway down`"):
        read_state(tmp_path)


def test_the_home_is_named_by_argument_then_variable_then_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SLIPWAY_HOME", raising=False)
    assert resolve_home() == tmp_path / ".slipway"
    monkeypatch.setenv("SLIPWAY_HOME", "elsewhere")
    assert resolve_home() == tmp_path / "elsewhere"
    assert resolve_home(Path("named")) == tmp_path / "named"


def test_a_home_has_one_cluster_and_another_home_another(tmp_path):
    assert cluster_id(tmp_path) == cluster_id(tmp_path)
    assert cluster_id(tmp_path) != cluster_id(tmp_path / "other")


def test_the_shell_finds_the_api_mlflow_and_ray(tmp_path):
    assert a_state(tmp_path).shell_environment() == {
        "SLIPWAY_URL": "http://127.0.0.1:8001",
        "SLIPWAY_TOKEN": "api secret",
        "SLIPWAY_STORAGE": str(tmp_path / "storage"),
        "MLFLOW_TRACKING_URI": "http://127.0.0.1:5000",
        "RAY_API_SERVER_ADDRESS": "http://127.0.0.1:8265",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": "ray secret",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    }


def test_rays_sockets_fit_into_their_limit(tmp_path):
    session = "session_2026-01-02_03-04-05_123456_1234567/sockets/plasma_store.123"
    assert len(str(a_state(tmp_path).temp_dir / session)) < 107
