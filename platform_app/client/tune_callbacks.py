"""What a plain Tuner tells MLflow and the ledger: the callbacks of `platform_app.client.tune.run_config`."""

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ray import tune
from ray.air.integrations.mlflow import MLflowLoggerCallback

from platform_app.specs import AttemptReport, AttemptStatus, Progress


class TrialRuns(MLflowLoggerCallback):  # type: ignore[misc]  # Ray ships no types
    """Makes each trial a child of one run that carries the job's id, as the trials of the platform's sweeps are."""

    def __init__(self, job_id: str, tracking_uri: str | None, experiment: str) -> None:
        super().__init__(tracking_uri, experiment_name=experiment)
        self._job_id = job_id
        self._parent = ""

    def setup(self, *args: Any, **options: Any) -> None:
        """Begin the run; Tune calls this when it starts."""
        super().setup(*args, **options)
        run = self.mlflow_util.start_run(run_name=self._job_id, tags={"slipway.job_id": self._job_id})
        self._parent = run.info.run_id
        self.tags = {"mlflow.parentRunId": self._parent}

    def on_experiment_end(self, trials: list[Any], **_: Any) -> None:  # noqa: ARG002  # Tune's signature
        """End the run."""
        self.mlflow_util.end_run(status="FINISHED", run_id=self._parent)


class Ledger(tune.Callback):  # type: ignore[misc]  # Ray ships no types
    """Writes the attempt's report whenever a trial ends, by which the platform knows how many are done."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._total = 0
        self._ended: set[str] = set()

    def setup(self, total_num_samples: int | None = None, **_: Any) -> None:
        """Begin; Tune says how many samples it will take, -1 or none where it does not know."""
        self._total = max(total_num_samples or 0, 0)
        self._tell({})

    def on_trial_complete(self, trial: Any, **_: Any) -> None:
        """Count a trial that ended."""
        self._ended.add(trial.trial_id)
        self._tell(trial.last_result or {})

    on_trial_error = on_trial_complete

    def _tell(self, result: Mapping[str, Any]) -> None:
        numbers = {name: float(value) for name, value in result.items() if type(value) in (int, float)}
        finite = {name: value for name, value in numbers.items() if math.isfinite(value)}
        done = len(self._ended)
        progress = Progress(done=done, total=max(self._total, done, 1), unit="trials", metrics=finite)
        text = AttemptReport(status=AttemptStatus.RUNNING, progress=progress).model_dump_json()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        aside = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        aside.write_text(text)
        aside.replace(self._path)
