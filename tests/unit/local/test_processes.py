"""Ending a cluster by the mark in its processes' environment."""

import os
import subprocess
import sys
import time
import uuid

import psutil
import pytest

from platform_app.errors import PermanentError
from platform_app.local.processes import mark, members, spawn, stop_members

DAEMON = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"], env={}, start_new_session=True)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(300)
    os._exit(0)
time.sleep(300)
"""
ORDERLY = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(print("down")))
print("up", flush=True)
time.sleep(300)
"""
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(300)"
)


@pytest.fixture
def cluster(tmp_path):
    """An id of its own, ended whatever the test does."""
    name = uuid.uuid4().hex
    yield name
    stop_members(name, grace_seconds=0)


def start(cluster, tmp_path, code):
    return spawn((sys.executable, "-c", code), {**os.environ, **mark(cluster, "test")}, tmp_path / "log", tmp_path)


def until(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def test_daemons_and_children_without_the_mark_are_found_and_ended(cluster, tmp_path):
    start(cluster, tmp_path, DAEMON)
    # The program, its child with an empty environment, and a grandchild whose parent has gone.
    until(lambda: len(members(cluster)) == 3)
    found = members(cluster)
    assert any(process.ppid() == 1 or process.parent().pid not in {p.pid for p in found} for process in found)
    assert stop_members(cluster) == 3
    assert members(cluster) == []
    assert not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in found)


def test_what_ignores_the_request_is_killed_after_the_grace(cluster, tmp_path):
    process = start(cluster, tmp_path, STUBBORN)
    until(lambda: (tmp_path / "log").read_text() == "up\n")
    begun = time.monotonic()
    assert stop_members(cluster, grace_seconds=0.3) == 1
    assert time.monotonic() - begun > 0.3
    assert process.poll() is not None


def test_what_ends_when_asked_can_put_its_things_in_order(cluster, tmp_path):
    start(cluster, tmp_path, ORDERLY)
    until(lambda: (tmp_path / "log").read_text() == "up\n")
    stop_members(cluster)
    assert (tmp_path / "log").read_text() == "up\ndown\n"


def test_ending_twice_is_the_same_as_once(cluster, tmp_path):
    start(cluster, tmp_path, "import time; time.sleep(300)")
    assert stop_members(cluster) == 1
    assert stop_members(cluster) == 0


def test_one_component_is_ended_with_all_it_started_and_the_others_live_on(cluster, tmp_path):
    start(cluster, tmp_path, DAEMON)
    other = {**os.environ, **mark(cluster, "other")}
    # Started by the one, and yet no part of it: it has a mark of its own.
    code = f"import subprocess, time; subprocess.Popen(['sleep', '300'], env={other!r}); time.sleep(300)"
    start(cluster, tmp_path, code)
    until(lambda: len(members(cluster)) == 5)
    assert len(members(cluster, {"test"})) == 4
    assert stop_members(cluster, {"test"}, grace_seconds=0) == 4
    assert [process.cmdline() for process in members(cluster)] == [["sleep", "300"]]
    assert members(cluster, {"test"}) == []


def test_processes_of_another_cluster_live_on(cluster, tmp_path):
    other = uuid.uuid4().hex
    process = start(other, tmp_path, "import time; time.sleep(300)")
    start(cluster, tmp_path, "import time; time.sleep(300)")
    stop_members(cluster)
    assert process.poll() is None
    assert stop_members(other) == 1


def test_the_caller_is_not_ended_by_itself(tmp_path):
    cluster = uuid.uuid4().hex
    code = f"from platform_app.local.processes import *; print(len(members('{cluster}')), stop_members('{cluster}'))"
    environment = {**os.environ, **mark(cluster, "test")}
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout) == (0, "0 0\n")


def test_what_cannot_be_ended_in_time_is_named(cluster, tmp_path):
    process = start(cluster, tmp_path, STUBBORN)
    until(lambda: (tmp_path / "log").read_text() == "up\n")
    with pytest.raises(PermanentError, match=str(process.pid)):
        stop_members(cluster, grace_seconds=60, limit_seconds=0.3)
