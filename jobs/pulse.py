"""How far a training run is, told by its first worker to the driver: a small file, replaced a few times a second.

And the way back: a driver asks the workers to leave, after a checkpoint, by a file that names their generation, which
is one start of all workers together.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from pydantic import ConfigDict, ValidationError

from platform_app.specs import Spec

logger = logging.getLogger(__name__)

INTERVAL_SECONDS = 0.5


class Pulse(Spec):
    """Where a generation of workers is."""

    model_config = ConfigDict(allow_inf_nan=True, ser_json_inf_nan="strings")

    generation: str
    num_workers: int
    resumed_from: int
    """Step of the checkpoint that it began with; 0 without one."""
    total_steps: int
    step: int
    at: float
    """When that step was done, in seconds of the Unix epoch."""
    first_at: float | None = None
    """When the first step of this generation was done."""
    metrics: dict[str, float] = {}
    """Of the last epoch."""
    warnings: tuple[str, ...] = ()
    """What went wrong in this generation without ending it, oldest first."""

    @property
    def step_seconds(self) -> float:
        """Mean time of a step in this generation; 0 before the second."""
        steps = self.step - self.resumed_from - 1
        return (self.at - self.first_at) / steps if self.first_at and steps > 0 else 0.0


def read_pulse(run_dir: Path) -> Pulse | None:
    """Read the last pulse of a run; None when there is none."""
    try:
        return Pulse.model_validate_json(_pulse_path(run_dir).read_bytes())
    except (OSError, ValidationError):
        return None


def ask_to_leave(run_dir: Path, generation: str) -> None:
    """Have a generation of workers leave after a checkpoint; it is heard within about a second."""
    _replace(_leave_path(run_dir), generation.encode())


def is_asked_to_leave(run_dir: Path, generation: str) -> bool:
    """Say whether a generation of workers was asked to leave."""
    try:
        return _leave_path(run_dir).read_text() == generation
    except OSError:
        return False


class Every:
    """Calls something from another thread at an interval, and a last time at the end, while the body runs."""

    def __init__(self, act: Callable[[], None], name: str, interval_seconds: float = INTERVAL_SECONDS) -> None:
        self._act = act
        self._interval_seconds = interval_seconds
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            last = self._done.wait(self._interval_seconds)
            try:
                self._act()
            except Exception:  # storage or the cluster is away: the next time may do
                logger.warning("%s", self._thread.name, exc_info=True)
            if last:
                return


class PulseWriter:
    """Tells of one generation; its first worker's alone."""

    def __init__(self, run_dir: Path, pulse: Pulse, clock: Callable[[], float] = time.time) -> None:
        self._run_dir = run_dir
        self._pulse = pulse
        self._written: Pulse | None = None
        self._clock = clock
        self._last = (pulse.step, pulse.at)
        self._first_at: float | None = None
        self._metrics: dict[str, float] = {}
        self._warnings = list(pulse.warnings)

    def stepped(self, step: int) -> None:
        """Take note of a step; costs next to nothing."""
        self._last = (step, self._clock())
        if self._first_at is None:
            self._first_at = self._last[1]

    def end_epoch(self, metrics: dict[str, float]) -> None:
        """Take note of an epoch's metrics."""
        self._metrics = metrics

    def warn(self, message: str) -> None:
        """Take note of what went wrong."""
        self._warnings.append(message)

    def write(self) -> None:
        """Write what is new."""
        step, at = self._last
        told = {"metrics": self._metrics, "warnings": tuple(self._warnings)}
        pulse = self._pulse.model_copy(update={"step": step, "at": at, "first_at": self._first_at, **told})
        if pulse == self._written:
            return
        _replace(_pulse_path(self._run_dir), pulse.model_dump_json().encode())
        self._written = pulse


def _pulse_path(run_dir: Path) -> Path:
    return run_dir / "pulse.json"


def _leave_path(run_dir: Path) -> Path:
    return run_dir / "leave"


def _replace(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_bytes(content)
    aside.replace(path)
