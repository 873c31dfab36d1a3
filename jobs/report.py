"""The attempt's own account of itself, for the platform: one small file, replaced whole each time."""

import math
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from jobs.failure import JobFailed
from platform_app.specs import AttemptReport, AttemptStatus, Interruption, Progress


class ReportFile:
    """The file of one attempt. Its driver writes it, and the process that sees the metrics come in."""

    def __init__(
        self, path: Path, clock: Callable[[], float] = time.monotonic, min_interval_seconds: float = 0.5
    ) -> None:
        self._path = path
        self._clock = clock
        self._min_interval_seconds = min_interval_seconds
        self._progress_at = -math.inf

    def read(self) -> AttemptReport | None:
        """Read it; None before the first write."""
        try:
            return AttemptReport.model_validate_json(self._path.read_bytes())
        except FileNotFoundError:
            return None

    def running(self, run_id: str | None = None) -> None:
        """Tell that the attempt runs."""
        self._write(self._last().model_copy(update={"status": AttemptStatus.RUNNING, "mlflow_run_id": run_id}))

    def progress(
        self, done: int, total: int, unit: str, metrics: Mapping[str, float], num_workers: int | None = None
    ) -> None:
        """Tell how far it is, and what it needs. Written at most once each interval, and always when it is done."""
        if done < total and self._clock() - self._progress_at < self._min_interval_seconds:
            return
        self._progress_at = self._clock()
        finite = {name: value for name, value in metrics.items() if math.isfinite(value)}
        progress = Progress(done=done, total=total, unit=unit, metrics=finite)
        self._write(self._last().model_copy(update={"progress": progress, "num_workers": num_workers}))

    def training(
        self,
        progress: Progress,
        num_workers: int,
        interruptions: tuple[Interruption, ...],
        warnings: tuple[str, ...],
    ) -> None:
        """Tell all that there is to tell of a training run that goes on."""
        finite = {name: value for name, value in progress.metrics.items() if math.isfinite(value)}
        progress = progress.model_copy(update={"metrics": finite})
        told = {"num_workers": num_workers, "interruptions": interruptions, "warnings": warnings}
        self._write(self._last().model_copy(update={"progress": progress, **told}))

    def succeeded(self, model_version: int | None) -> None:
        """Tell that it is done."""
        last = self._last()
        self._write(last.model_copy(update={"status": AttemptStatus.SUCCEEDED, "model_version": model_version}))

    def failed(self, failure: JobFailed) -> None:
        """Tell why it failed."""
        update = {"status": AttemptStatus.FAILED, "cause": failure.cause, "message": failure.message}
        self._write(self._last().model_copy(update=update))

    def _last(self) -> AttemptReport:
        return self.read() or AttemptReport(status=AttemptStatus.RUNNING)

    def _write(self, report: AttemptReport) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        handle, aside = tempfile.mkstemp(dir=self._path.parent, prefix=f".{self._path.name}.")
        try:
            with os.fdopen(handle, "w") as file:
                file.write(report.model_dump_json())
                file.flush()
                os.fsync(file.fileno())
            Path(aside).chmod(0o644)  # mkstemp's is for its owner alone; the control plane may be another user
            os.replace(aside, self._path)
        except BaseException:
            Path(aside).unlink(missing_ok=True)
            raise
