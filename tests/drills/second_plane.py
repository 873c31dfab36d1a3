"""A second control plane beside the one of a platform: the same settings, another port, two processes of its own.

python -m tests.drills.second_plane api|reconciler      # with the environment of the first one's deployment
"""

import logging
import os
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Sequence

import psutil
import ray
import uvicorn

from platform_app import bootstrap
from platform_app.client import Platform
from platform_app.local.components import CONTROL_PLANE, answers, components
from platform_app.local.state import HOST
from platform_app.settings import Settings
from platform_app.specs import load_catalog
from tests.plain_ray import free_port
from tests.running import Running, eventually

API, RECONCILER = "api", "reconciler"


class SecondPlane:
    """Starts the processes, and starts them again when they were killed."""

    def __init__(self, running: Running) -> None:
        state = running.state
        parts = components(state, os.environ, load_catalog(state.catalog), ())
        (first,) = (part for part in parts if part.name == CONTROL_PLANE)
        self._port = free_port()
        self._env = {**first.env, "SLIPWAY_HTTP_PORT": str(self._port)}
        self._log = state.logs / "second-control-plane.log"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.client = Platform(f"http://{HOST}:{self._port}", state.api_token)

    def start(self) -> None:
        """Start what is not alive, and wait until it answers."""
        for role in (API, RECONCILER):
            if role not in self._processes or self._processes[role].poll() is not None:
                command = [sys.executable, "-m", "tests.drills.second_plane", role]
                with self._log.open("ab") as log:
                    self._processes[role] = subprocess.Popen(command, env=self._env, stdout=log, stderr=log)
        eventually(lambda: answers(f"http://{HOST}:{self._port}/healthz"), timeout=120)

    def processes(self) -> Sequence[psutil.Process]:
        """Give its processes: the API's, then the reconciler's."""
        return [psutil.Process(self._processes[role].pid) for role in (API, RECONCILER)]

    def end(self) -> None:
        """End them; what is stopped is ended too."""
        for process in self._processes.values():
            process.kill()
            process.wait()


def main() -> None:
    """Run one of the two until it is killed."""
    settings = Settings()
    bootstrap.migrate(settings)
    ray.init(namespace="serve", log_to_driver=False, logging_level=logging.WARNING)
    if sys.argv[1] == API:
        uvicorn.run(bootstrap.api(settings), host=settings.http_host, port=settings.http_port, log_level="warning")
    else:
        holder = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
        bootstrap.reconciler(settings, holder).run_forever(threading.Event(), settings.tick_seconds)


if __name__ == "__main__":
    main()
