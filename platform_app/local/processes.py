"""The processes of one cluster, found by a mark in their environment, which also names the component they are part of.

Ray's processes start further ones, some of which leave their parents and sessions; all inherit the environment.
Unmarked children of marked processes count too: a user's program may clear the environment of what it starts.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import psutil

from platform_app.errors import PermanentError

MARK = "SLIPWAY_CLUSTER_ID"
"""Environment variable that holds the id of the cluster."""

_COMPONENT = "SLIPWAY_COMPONENT"


def mark(cluster_id: str, component: str) -> dict[str, str]:
    """Give the variables that mark a process and all it starts."""
    # Ray's workers write their titles over argv and, without SPT_NOENV, over what /proc shows as their environment.
    return {MARK: cluster_id, _COMPONENT: component, "SPT_NOENV": "1"}


def spawn(command: Sequence[str], env: Mapping[str, str], log: Path, cwd: Path) -> subprocess.Popen[bytes]:
    """Start a process, its output added to a file, in a session of its own: a Ctrl-C in the terminal is not for it."""
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            env=dict(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def members(cluster_id: str, of: Collection[str] | None = None) -> list[psutil.Process]:
    """List the living processes of a cluster, without the caller.

    Args:
        cluster_id: the cluster.
        of: names of components, whose processes alone are listed; None for all.
    """
    children: dict[int, list[psutil.Process]] = {}
    found: dict[int, psutil.Process] = {}
    for process in psutil.process_iter(["ppid", "environ", "status"]):
        if process.info["status"] == psutil.STATUS_ZOMBIE:
            continue
        environment = process.info["environ"] or {}
        is_marked = environment.get(MARK) == cluster_id
        if is_marked and (of is None or environment.get(_COMPONENT) in of):
            found[process.pid] = process
        elif not is_marked:
            children.setdefault(process.info["ppid"], []).append(process)
    unseen = list(found)
    while unseen:
        for child in children.get(unseen.pop(), ()):
            if child.pid not in found:
                found[child.pid] = child
                unseen.append(child.pid)
    found.pop(os.getpid(), None)
    return list(found.values())


def stop_members(
    cluster_id: str, of: Collection[str] | None = None, grace_seconds: float = 2.0, limit_seconds: float = 20.0
) -> int:
    """End the processes of a cluster, asking first and killing after the grace; the number that there were.

    It looks again until none is left, for a process may start another one while it is asked to end.

    Args:
        cluster_id: the cluster.
        of: names of components, whose processes alone are ended; None for all.
        grace_seconds: time that they have to end by themselves; 0 to kill at once.
        limit_seconds: time after which it is given up.

    Raises:
        PermanentError: some do not die, as a process stuck in the kernel does not.
    """
    seen: set[int] = set()
    begun = time.monotonic()
    while alive := members(cluster_id, of):
        elapsed = time.monotonic() - begun
        if elapsed > limit_seconds:
            names = ", ".join(str(process.pid) for process in alive)
            raise PermanentError(f"these processes do not end: {names}. End them by hand, then run `slipway down`.")
        for process in alive:
            if elapsed >= grace_seconds:
                _send(process, signal.SIGKILL)
            elif process.pid not in seen:
                _send(process, signal.SIGTERM)
            seen.add(process.pid)
        psutil.wait_procs(alive, timeout=0.2)
    return len(seen)


def _send(process: psutil.Process, number: signal.Signals) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(number)


def kill_tree(process: psutil.Process) -> None:
    """Kill a process and all that came from it, at once. Nothing happens when it is gone."""
    with contextlib.suppress(psutil.NoSuchProcess):
        # Stopped, it starts nothing more while its children are counted.
        process.suspend()
        for one in (process, *process.children(recursive=True)):
            _send(one, signal.SIGKILL)
