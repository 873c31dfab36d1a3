"""The cluster's proxy: where HAProxy keeps its things, and what it shows to whom."""

import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from platform_app.launch import INGRESS_ENV
from platform_app.local.components import components
from platform_app.local.haproxy import find_haproxy, ingress_environment, make_haproxy
from platform_app.local.state import ClusterState, Ports, temp_dir
from platform_app.specs import load_catalog

CONFIGURATION = """\
frontend prometheus
    bind :9101
frontend http_frontend
    bind 127.0.0.1:8000
listen stats
  bind *:8404
"""


@pytest.fixture
def state(tmp_path, request):
    """Give a cluster whose HAProxy prints the configuration that it was given."""
    program = tmp_path / "haproxy"
    program.write_text('#!/bin/sh\ncat "$2"\n')
    program.chmod(0o700)
    return ClusterState(
        cluster_id="f" * 10,
        home=tmp_path,
        started_at=datetime(2026, 1, 1, tzinfo=UTC),
        ports=Ports(haproxy_stats=1, haproxy_metrics=2, serve_fallback=3),
        api_token="",
        ray_token="",
        haproxy=program,
    )


class InFolder(ClusterState):
    """A cluster whose folder of Ray is below its home."""

    @property
    def temp_dir(self) -> Path:
        return self.home


def test_haproxy_listens_on_the_loopback_address_alone(state, tmp_path):
    state = InFolder.model_validate(state.model_dump())
    make_haproxy(state)
    file = tmp_path / "haproxy.cfg"
    file.write_text(CONFIGURATION)
    program = ingress_environment(state)["RAY_SERVE_HAPROXY_BINARY_PATH"]
    read = subprocess.run([program, "-f", file], capture_output=True, text=True, check=True).stdout
    assert [line.split()[1] for line in read.splitlines() if "bind" in line] == [
        "127.0.0.1:9101",
        "127.0.0.1:8000",
        "127.0.0.1:8404",
    ]


def test_all_of_ray_and_whoever_deploys_are_told_of_the_proxy(state):
    parts = {part.name: part for part in components(state, {}, load_catalog(), ("deploy",))}
    for name in ("Ray", "control plane"):
        assert ingress_environment(state).items() <= parts[name].env.items()


def test_two_clusters_share_no_path_and_no_port_of_their_proxies(state):
    ports = Ports(haproxy_stats=11, haproxy_metrics=12, serve_fallback=13)
    other = state.model_copy(update={"cluster_id": "e" * 10, "ports": ports})
    ours, theirs = ingress_environment(state), ingress_environment(other)
    for name in ours.keys() - INGRESS_ENV.keys():
        assert ours[name] != theirs[name], name


def test_paths_of_sockets_are_short_enough_for_the_id_of_a_node(state):
    for name, path in ingress_environment(state).items():
        if name.endswith("SOCKET_PATH"):
            folder, _, file = path.rpartition("/")
            # HAProxy binds to a name with its process's id behind it first, and renames that.
            assert len(f"{folder}/{'f' * 56}/{file}.4194304.tmp") <= 107
    assert temp_dir(state.cluster_id) == state.temp_dir


def test_haproxy_is_taken_where_there_is_one_unless_it_is_not_wanted():
    assert find_haproxy(None) == find_haproxy(True)
    assert find_haproxy(False) is None


def test_without_haproxy_ray_serve_is_told_nothing(state):
    assert ingress_environment(state.model_copy(update={"haproxy": None})) == {}
