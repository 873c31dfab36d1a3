"""When the keeper starts a component again, and when it leaves it alone."""

import itertools
import os
import signal
import socket
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_app.local.components import Component
from platform_app.local.keeper import Patience, is_gone
from platform_app.local.network import refuses


def looks(patience, gone, begin, seconds, step=0.5):
    """Look again and again at what is as it is, until a start is due: when that was, or None."""
    now = begin
    while now <= begin + seconds:
        if patience.is_due(gone, now):
            return now
        now += step
    return None


def test_what_is_there_is_left_alone():
    assert looks(Patience(), gone=False, begin=0.0, seconds=1000) is None


def test_what_is_gone_is_started_within_two_seconds():
    assert looks(Patience(), gone=True, begin=100.0, seconds=2) <= 101


def test_one_look_alone_decides_nothing():
    patience = Patience()
    assert not any(patience.is_due(gone, now) for now, gone in enumerate([True, False] * 20))


def starts(seconds, well, lives=0.0):
    """Give the moments at which something is started that fails, or dies again after a while."""
    patience, now, moments = Patience(), 0.0, []
    while now < seconds:
        due = looks(patience, True, now, seconds)
        if due is None:
            break
        moments.append(due)
        patience.ended(well, due)
        now = due + 0.5
        until = now + lives
        while now < until:
            patience.is_due(False, now)
            now += 0.5
    return moments


def test_what_does_not_start_is_tried_less_and_less_often_but_never_given_up():
    moments = starts(600, well=False)
    pauses = [later - earlier for earlier, later in itertools.pairwise(moments)]
    assert pauses == sorted(pauses)
    assert pauses[0] < 2
    assert 60 <= pauses[-1] < 62
    assert len(starts(100_000, well=False)) > 1500


def test_what_starts_and_dies_again_at_once_is_tried_less_and_less_often():
    assert len(starts(600, well=True, lives=5)) < 20


def test_after_a_calm_time_a_death_is_again_the_first():
    patience = Patience()
    for _ in range(5):
        patience.ended(False, 0.0)
    assert looks(patience, gone=False, begin=0.0, seconds=130) is None
    assert looks(patience, gone=True, begin=130.5, seconds=2) is not None


@given(st.lists(st.tuples(st.booleans(), st.floats(0.1, 30), st.booleans()), max_size=60))
def test_nothing_is_started_that_was_there_a_look_ago(story):
    patience, now, before = Patience(), 0.0, False
    for gone, passed, well in story:
        now += passed
        if patience.is_due(gone, now):
            assert gone
            assert before
            patience.ended(well, now)
            gone = False
        before = gone


def component(*ports, ready=True):
    return Component("part", ("true",), {}, lambda: ready, ports=ports)


SERVER = """
import socket, time
server = socket.socket()
server.bind(("127.0.0.1", 0))
server.listen(1)
print(server.getsockname()[1], flush=True)
time.sleep(300)
"""


@pytest.fixture
def server():
    """Give a process that listens, and accepts nobody."""
    process = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True)
    port = int(process.stdout.readline())
    yield process, port
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_killed_process_is_gone_and_a_stopped_or_busy_one_is_not(server):
    process, port = server
    os.kill(process.pid, signal.SIGSTOP)
    busy = [socket.socket() for _ in range(4)]
    for one in busy:  # more than it has room for
        one.setblocking(False)
        one.connect_ex(("127.0.0.1", port))
    assert not is_gone([component(port)], failed=False)
    for one in busy:
        one.close()
    process.kill()
    process.wait()
    assert refuses(port)
    assert is_gone([component(port)], failed=False)


def test_one_dead_process_of_several_makes_a_component_gone(server):
    process, port = server
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        both = component(port, other.getsockname()[1])
        assert not is_gone([both], failed=False)
        process.kill()
        process.wait()
        assert is_gone([both], failed=False)


def test_after_a_failed_start_what_is_not_ready_is_gone_too():
    half = [component(), component(ready=False)]
    assert not is_gone(half, failed=False)
    assert is_gone(half, failed=True)
    assert not is_gone([component()], failed=True)
