"""Containers are processes of this machine, found again by a mark in their environment."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from platform_app.local.processes import mark, members, spawn
from tests.kube.standin.kubelet import reaper

_RAY = """#!/bin/bash
# `ray` of a pod on a machine that it shares with others: the last of two equal options counts.
case "$1" in
  start) exec "{ray}" "$@" $STANDIN_RAY_START ;;
  kuberay-autoscaler) exec "{ray}" "$@" $STANDIN_RAY_AUTOSCALER ;;
  *) exec "{ray}" "$@" ;;
esac
"""

_KEPT = ("LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "COVERAGE_PROCESS_START")
"""What a container takes over from this machine; all else comes from the pod."""


@dataclass
class Container:
    """One started container."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    started_at: str

    @property
    def exit_code(self) -> int | None:
        """Give the code that it ended with, as a container's; None while it runs."""
        code = self.process.poll()
        return code if code is None or code >= 0 else 128 - code

    def terminate(self) -> None:
        """Send SIGTERM to its first process, as a container runtime does."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)


class Runtime:
    """Starts containers, each pod's in a folder of its own, and ends them without leftovers."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._bin = home / "bin"
        self._bin.mkdir(parents=True)
        real = Path(sys.executable).parent / "ray"
        shim = self._bin / "ray"
        shim.write_text(_RAY.format(ray=real))
        shim.chmod(0o755)
        # It ends our processes even when the tests are killed.
        self._reaper = subprocess.Popen(
            [sys.executable, reaper.__file__, str(home)], stdin=subprocess.PIPE, start_new_session=True
        )

    def close(self) -> None:
        """End what is left, and remove the folder."""
        self._reaper.communicate(timeout=30)

    def folder(self, namespace: str, pod: str) -> Path:
        """Give a pod's folder: its home directory, and its logs as `<container>.log`."""
        return self._home / "pods" / namespace / pod

    def start(
        self, pod_uid: str, folder: Path, name: str, command: Sequence[str], env: Mapping[str, str], started_at: str
    ) -> Container:
        """Start a container's process."""
        folder.mkdir(parents=True, exist_ok=True)
        kept = {key: os.environ[key] for key in _KEPT if key in os.environ}
        path = f"{self._bin}:{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
        environment = {**kept, "HOME": str(folder), "PATH": path, **env, **mark(pod_uid, name)}
        environment[reaper.VARIABLE] = str(self._home)
        log = folder / f"{name}.log"
        return Container(name, spawn(command, environment, log, folder), log, started_at)

    def kill(self, pod_uid: str, limit_seconds: float = 10.0) -> None:
        """Kill every process of a pod, and those that it started, until none is left."""
        deadline = time.monotonic() + limit_seconds
        while (left := members(pod_uid)) and time.monotonic() < deadline:
            for process in left:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            time.sleep(0.05)
