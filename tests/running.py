"""A whole platform on this machine, started and ended by the command that people use."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psutil

from platform_app.client import Platform
from platform_app.local.state import ClusterState, read_state

T = TypeVar("T")

SLIPWAY = [sys.executable, "-m", "platform_app.cli.main"]


@dataclass(frozen=True)
class Running:
    """A platform that is up."""

    state: ClusterState
    client: Platform

    def slipway(self, *words: str, **options) -> subprocess.CompletedProcess[str]:
        """Run a `slipway` command against it."""
        environment = {**os.environ, "SLIPWAY_HOME": str(self.state.home)}
        return subprocess.run(
            [*SLIPWAY, *words], env=environment, text=True, capture_output=True, timeout=300, **options
        )

    def processes(self, title: str) -> list[psutil.Process]:
        """Find processes of this cluster whose command line contains a title."""
        found = []
        for process in psutil.process_iter():
            try:
                ours = process.environ().get("SLIPWAY_CLUSTER_ID") == self.state.cluster_id
                if ours and title in " ".join(process.cmdline()):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def kill(self, title: str) -> None:
        """Kill all processes with a title, once there are any."""
        for victim in eventually(lambda: self.processes(title), timeout=30):
            victim.send_signal(signal.SIGKILL)

    def workers(self) -> int:
        """Count the workers that are alive or asked for."""
        return sum(group.workers + group.pending for group in self.client.cluster().worker_groups)

    def gpu_workers_alive(self) -> int:
        """Count the workers with GPUs that are alive."""
        return sum(group.workers for group in self.client.cluster().worker_groups if group.gpus)


@contextmanager
def running_platform() -> Iterator[Running]:
    """Start a platform in a home of its own; take it down at the end, whatever happened."""
    with tempfile.TemporaryDirectory(prefix="slipway-test-") as home:
        try:
            subprocess.run([*SLIPWAY, "up", "--detach", "--home", home], check=True, timeout=180)
            state = read_state(Path(home))
            assert state is not None
            yield Running(state, Platform(state.api_url, state.api_token))
        finally:
            subprocess.run([*SLIPWAY, "down", "--home", home], check=True, timeout=60)


def eventually(look: Callable[[], T], timeout: float = 90.0) -> T:
    """Look again and again until something is seen, and give it."""
    deadline = time.monotonic() + timeout
    while not (found := look()):
        assert time.monotonic() < deadline, f"not seen within {timeout:g} s"
        time.sleep(0.5)
    return found
