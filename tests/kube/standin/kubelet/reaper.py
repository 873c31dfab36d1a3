"""Ends what a cluster leaves behind when its test process is killed: run as a program beside it.

It waits until its standard input closes, as it does when the process at the other end ends in whatever way; then it
kills every process that has the cluster's folder in its environment, and removes the folder.
"""

import contextlib
import shutil
import sys
import time

import psutil

VARIABLE = "STANDIN_HOME"
"""Environment variable of all processes of a cluster: its folder."""


def reap(home: str, limit_seconds: float = 15.0) -> None:
    """Kill every process of a cluster, and those that it starts meanwhile; remove its folder."""
    deadline = time.monotonic() + limit_seconds
    while time.monotonic() < deadline and (
        left := [one for one in psutil.process_iter(["environ"]) if _is_of(one, home)]
    ):
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left, timeout=0.5)
    shutil.rmtree(home, ignore_errors=True)


def _is_of(process: psutil.Process, home: str) -> bool:
    return (process.info["environ"] or {}).get(VARIABLE) == home


if __name__ == "__main__":
    sys.stdin.read()
    reap(sys.argv[1])
