"""The driver's view of a training run: it passes on how far the workers are, and reckons what interruptions cost."""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from jobs import elastic
from jobs.attempt import Attempt
from jobs.pulse import Pulse, ask_to_leave, read_pulse
from jobs.report import ReportFile
from platform_app.specs import Interruption, Progress, grant_path

SETTLE_SECONDS = 5.0
"""A size that the run could have must last so long before it is taken: nodes come in twos and threes."""


def interruption(before: Pulse, after: Pulse, cause: str, gpus_per_worker: float) -> Interruption:
    """Reckon what it cost that a generation of workers ended, once another has taken its first step.

    The wait is charged with the workers that went on: they hold their GPUs while they start.
    """
    lost = max(0, before.step - after.resumed_from)
    seconds = max(0.0, (after.first_at or after.at) - before.at)
    lost_seconds = lost * before.step_seconds
    return Interruption(
        at=datetime.fromtimestamp(before.at, UTC),
        cause=cause,
        num_workers=after.num_workers,
        steps_lost=lost,
        seconds=round(seconds, 3),
        gpu_seconds_lost=round(gpus_per_worker * (lost_seconds * before.num_workers + seconds * after.num_workers), 3),
        step=before.step,
        lost_seconds=round(lost_seconds, 3),
    )


class Follower:
    """Follows one attempt through its generations of workers; called a few times a second, from another thread.

    Args:
        attempt: the attempt.
        wanted: gives how many workers the run should be on, told how many it is on; 0 where it is to end.
        clock: in seconds.
    """

    def __init__(
        self, attempt: Attempt, wanted: Callable[[int], int], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._run_dir = attempt.run_dir
        self._report = ReportFile(attempt.report_path)
        self._gpus_per_worker = attempt.spec.resources.gpus_per_worker
        self._wanted = wanted
        self._clock = clock
        self._lock = threading.Lock()
        self._generation = ""
        self._asked: int | None = None
        self._wanted_since: tuple[int, float] | None = None
        self._seen: Pulse | None = None
        self._interruptions: list[Interruption] = []
        self._warnings: list[str] = []
        self._began_at: float | None = None
        # The driver of an attempt before may have died: what it saw last is where this one goes on.
        last, grant = read_pulse(self._run_dir), Path(grant_path(attempt.storage, attempt.job_id))
        cause = "preempted" if elastic.is_to_leave(grant, attempt.number - 1) else "driver-lost"
        self._interrupted = (last, cause) if last and last.step < last.total_steps else None

    def begin(self, generation: str) -> None:
        """Follow a new generation of workers."""
        with self._lock:
            self._generation, self._asked, self._seen, self._wanted_since = generation, None, None, None

    def end(self, cause: str | None = None) -> int | None:
        """Take note that the generation has ended: interrupted, or else left as it was asked to.

        Args:
            cause: of the interruption, unless the driver has asked for it.

        Returns:
            The size that the driver has asked for.
        """
        with self._lock:
            self._look()
            if self._seen:
                for warning in self._seen.warnings:
                    print(f"warning: {warning}", flush=True)  # noqa: T201
                self._warnings += self._seen.warnings
                # Where a generation took no step, the interruption before goes on.
                if self._seen.first_at or not self._interrupted:
                    self._interrupted = (self._seen, "resize" if self._asked else cause or "notice")
            self._generation = ""
            return self._asked

    def look(self) -> None:
        """Read the workers' pulse, tell the platform what is new, and ask them to leave for another size."""
        with self._lock:
            self._look()

    def _look(self) -> None:
        pulse = read_pulse(self._run_dir)
        if pulse is None or pulse.generation != self._generation:
            return
        if pulse != self._seen:
            self._seen = pulse
            self._account_for_interruption(pulse)
            self._tell(pulse)
        if self._asked is None and pulse.first_at and pulse.step < pulse.total_steps:
            self._resize(pulse)

    def _account_for_interruption(self, pulse: Pulse) -> None:
        if not (self._interrupted and pulse.first_at):
            return
        before, cause = self._interrupted
        self._interrupted = None
        cost = interruption(before, pulse, cause, self._gpus_per_worker)
        self._interruptions.append(cost)
        print(  # noqa: T201
            f"interrupted at step {before.step} ({cause}): went on from step {pulse.resumed_from} with "
            f"{pulse.num_workers} workers after {cost.seconds:.1f} s; {cost.steps_lost} steps lost",
            flush=True,
        )

    def _tell(self, pulse: Pulse) -> None:
        self._began_at = self._began_at or pulse.first_at
        progress = Progress(
            done=pulse.step,
            total=pulse.total_steps,
            unit="steps",
            metrics=pulse.metrics,
            began_at=datetime.fromtimestamp(self._began_at, UTC) if self._began_at else None,
            at=datetime.fromtimestamp(pulse.at, UTC),
        )
        warnings = (*self._warnings, *pulse.warnings)
        self._report.training(progress, pulse.num_workers, tuple(self._interruptions), warnings)

    def _resize(self, pulse: Pulse) -> None:
        wanted, now = self._wanted(pulse.num_workers), self._clock()
        if wanted == 0:
            self._asked = 0  # Others wait for its room: there is nothing to settle.
            ask_to_leave(self._run_dir, pulse.generation)
        elif wanted == pulse.num_workers:
            self._wanted_since = None
        elif self._wanted_since is None or self._wanted_since[0] != wanted:
            self._wanted_since = (wanted, now)
        elif now - self._wanted_since[1] >= SETTLE_SECONDS:
            self._asked = wanted
            ask_to_leave(self._run_dir, pulse.generation)
