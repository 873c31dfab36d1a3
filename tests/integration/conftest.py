"""A whole platform, started once by the command that people use, for all tests that need one."""

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from platform_app.client import Platform
from platform_app.local.state import ClusterState, read_state


@dataclass(frozen=True)
class Running:
    """A platform that is up."""

    state: ClusterState
    client: Platform

    def slipway(self, *words: str, **options) -> subprocess.CompletedProcess[str]:
        """Run a `slipway` command against it."""
        command = [sys.executable, "-m", "platform_app.cli.main", *words]
        environment = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "SLIPWAY_HOME": str(self.state.home)}
        return subprocess.run(command, env=environment, text=True, capture_output=True, timeout=300, **options)


@pytest.fixture(scope="session")
def running():
    """Start the platform in a home of its own; take it down at the end, whatever happened."""
    with tempfile.TemporaryDirectory(prefix="slipway-test-") as home:
        command = [sys.executable, "-m", "platform_app.cli.main"]
        try:
            subprocess.run([*command, "up", "--detach", "--home", home], check=True, timeout=180)
            state = read_state(Path(home))
            assert state is not None
            yield Running(state, Platform(state.api_url, state.api_token))
        finally:
            subprocess.run([*command, "down", "--home", home], check=True, timeout=60)
