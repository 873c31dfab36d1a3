"""Starts components side by side, each as soon as what it needs is ready."""

import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from platform_app.errors import PermanentError
from platform_app.local.components import Component
from platform_app.local.processes import spawn

Progress = Callable[[str, bool], None]
"""Told the name of each component as its start begins (False) and when it is ready (True)."""

_POLL_SECONDS = 0.1
_TAIL_LINES = 15


class StartFailed(PermanentError):
    """A component did not start. The message has its name, the end of its log and what to do."""


def start(
    parts: Sequence[Component],
    home: Path,
    logs: Path,
    progress: Progress,
    wanted: Callable[[], bool],
    timeout_seconds: float,
) -> None:
    """Start all components and return when all are ready.

    Args:
        parts: what to start; what they need of others is taken to be there.
        home: working directory of them all.
        logs: folder for their output.
        progress: told how it goes.
        wanted: asked all the time; False ends the start.
        timeout_seconds: how long one component may take.

    Raises:
        StartFailed: a component ended, or was not ready in time. What was started still runs.
    """
    started: dict[str, tuple[subprocess.Popen[bytes], float]] = {}
    names = {part.name for part in parts}
    ready: set[str] = set()
    while len(ready) < len(parts):
        if not wanted():
            raise StartFailed("the cluster was ended by someone else while it started.")
        for part in parts:
            if part.name in ready or not ready.issuperset(names.intersection(part.needs)):
                continue
            if part.name not in started:
                progress(part.name, False)
                process = spawn(part.command, part.env, logs / part.log_name, home)
                started[part.name] = (process, time.monotonic())
            elif _is_ready(part, *started[part.name], logs / part.log_name, timeout_seconds):
                ready.add(part.name)
                progress(part.name, True)
        time.sleep(_POLL_SECONDS)


def _is_ready(
    part: Component, process: subprocess.Popen[bytes], since: float, log: Path, timeout_seconds: float
) -> bool:
    code = process.poll()
    if code is not None and (part.stays or code != 0):
        raise _failure(part, f"ended with exit code {code}", log)
    if (part.stays or code == 0) and part.ready():
        return True
    if time.monotonic() - since > timeout_seconds:
        raise _failure(part, f"was not ready after {timeout_seconds:g} seconds", log)
    return False


def _failure(part: Component, what: str, log: Path) -> StartFailed:
    lines = log.read_text(errors="replace").splitlines()[-_TAIL_LINES:]
    tail = "\n".join(f"    {line}" for line in lines) or "    (no output)"
    return StartFailed(
        f"{part.name} {what}. The end of its output:\n{tail}\nThe logs are in {log.parent}. `slipway up` tries again."
    )
