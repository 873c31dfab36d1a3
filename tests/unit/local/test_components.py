"""What is started, with which command and environment."""

import hashlib
import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from platform_app.local.components import components
from platform_app.local.processes import MARK
from platform_app.local.state import ClusterState, Ports
from platform_app.settings import Settings
from platform_app.specs import load_catalog

STATE = ClusterState(
    cluster_id="abc",
    home=Path("/home/of/cluster"),
    started_at=datetime(2026, 1, 1, tzinfo=UTC),
    ports=Ports(api=8001, mlflow=5001, dashboard=8266, gcs=6380, ray_client=10002),
    api_token="api secret",
    ray_token="ray secret",
)
CATALOG = load_catalog().model_copy(update={"spot_wait_seconds": 17, "spot_retry_seconds": 71})
INHERITED = {
    "PATH": "/usr/bin",
    "HOME": "/root",
    "RAY_ADDRESS": "10.0.0.1:6379",
    "MLFLOW_TRACKING_URI": "http://elsewhere",
    "SLIPWAY_TOKEN": "of another cluster",
    "SLIPWAY_TICK_SECONDS": "2",
}


def rendered(catalog=None):
    parts = components(STATE.model_copy(update={"catalog": catalog}), INHERITED, CATALOG, ("python", "-m", "deploy"))
    return {part.name: part for part in parts}


def test_every_component_carries_the_mark_and_runs_our_python():
    for part in rendered().values():
        assert part.env[MARK] == "abc"
        assert part.env["PATH"] == f"{Path(sys.executable).parent}:/usr/bin"


def test_the_head_hands_mlflow_and_storage_to_jobs_of_plain_ray():
    env = rendered()["Ray"].env
    assert env["MLFLOW_TRACKING_URI"] == "http://127.0.0.1:5001"
    assert env["SLIPWAY_STORAGE"] == "/home/of/cluster/storage"
    assert (env["RAY_AUTH_MODE"], env["RAY_AUTH_TOKEN"]) == ("token", "ray secret")


def test_what_names_another_cluster_is_not_inherited():
    for part in rendered().values():
        assert "of another cluster" not in part.env.values()
        assert "10.0.0.1:6379" not in part.env.values()
        assert part.env["HOME"] == "/root"


def test_no_component_is_told_the_api_token_itself():
    assert not any("api secret" in value for part in rendered().values() for value in part.env.values())


def test_no_secret_is_on_a_command_line():
    assert not any("secret" in word for part in rendered().values() for word in part.command)


def test_the_control_planes_settings_are_complete(monkeypatch):
    part = rendered(Path("/etc/catalog.yaml"))["control plane"]
    for name in [name for name in os.environ if name.startswith("SLIPWAY_")]:
        monkeypatch.delenv(name)
    for name, value in part.env.items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert settings.database_url == "sqlite:////home/of/cluster/slipway.db"
    assert settings.storage == "/home/of/cluster/storage"
    assert settings.tracking_uri == "http://127.0.0.1:5001"
    assert settings.ray_dashboard_url == "http://127.0.0.1:8266"
    assert settings.token_digests == (hashlib.sha256(b"api secret").hexdigest(),)
    assert (settings.http_host, settings.http_port) == ("127.0.0.1", 8001)
    assert settings.catalog == Path("/etc/catalog.yaml")
    assert settings.tick_seconds == 2
    assert part.env["RAY_ADDRESS"] == "127.0.0.1:6380"


def test_without_a_catalog_file_the_control_plane_takes_its_own():
    assert "SLIPWAY_CATALOG" not in rendered()["control plane"].env


def test_the_control_plane_waits_for_the_others_and_they_for_nothing():
    parts = rendered()
    assert set(parts["control plane"].needs) == {"MLflow", "Ray"}
    assert parts["MLflow"].needs == parts["Ray"].needs == ()
    assert parts["keeper"].needs == ("control plane",), "it would start what has not been started yet"


@pytest.mark.parametrize("name", ["MLflow", "Ray"])
def test_servers_listen_on_the_loopback_address(name):
    command = " ".join(rendered()[name].command)
    assert "127.0.0.1" in command
    assert "0.0.0.0" not in command


def test_ray_is_given_every_port_that_it_would_else_take_by_default():
    command = rendered()["Ray"].command
    for option in (
        "--port=6380",
        "--dashboard-port=8266",
        "--ray-client-server-port=10002",
        "--dashboard-agent-listen-port=0",
        "--min-worker-port=0",
        "--max-worker-port=0",
    ):
        assert option in command
    env = rendered()["Ray"].env
    assert json.loads(env["AUTOSCALER_METRIC_PORT"]) == 44217
    assert json.loads(env["DASHBOARD_METRIC_PORT"]) == 44227


def test_the_head_has_no_cpus_and_no_gpus():
    assert {"--num-cpus=0", "--num-gpus=0"} <= set(rendered()["Ray"].command)


def test_the_autoscaler_waits_for_spot_and_tries_it_again_as_the_catalog_says():
    from ray.autoscaler._private import constants
    from ray.autoscaler.v2.instance_manager import config

    env = rendered()["Ray"].env
    assert env["RAY_AUTOSCALER_RECONCILE_ALLOCATE_STATUS_TIMEOUT_S"] == "17"
    assert env["RAY_AUTOSCALER_AVAILABILITY_RECOVERY_S"] == "71"
    # Ray's own names for them; one that Ray does not read would be without effect, and nobody would know.
    read = Path(config.__file__).read_text() + Path(constants.__file__).read_text()
    assert all(f'"{name}"' in read for name in env if name.startswith("RAY_AUTOSCALER_"))
