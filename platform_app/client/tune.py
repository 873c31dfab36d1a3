"""Ray Tune as its own documentation has it, in the platform's places.

    from platform_app.client import run_config
    results = ray.tune.Tuner(trainable, run_config=run_config("mine"), ...).fit()

In a job of the platform (`ray job submit -- python tune_it.py` by its door, or `kind: command`) the checkpoints go to
the job's folder on the shared storage, the trials are runs of the job's MLflow experiment, and the ledger knows how
many of them are done: `slipway job`, `slipway trials` and `Platform.best` answer as for a sweep.
"""

import math
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platform_app.errors import NotFound
from platform_app.specs import AttemptReport, AttemptStatus, Progress, report_path, run_dir

if TYPE_CHECKING:
    import ray.tune

JOB_TAG = "slipway.job_id"
"""MLflow tag of what a job made."""


def run_config(name: str, environment: Mapping[str, str] = os.environ, **options: Any) -> "ray.tune.RunConfig":
    """Give the run configuration by which a plain `ray.tune.Tuner` is one of the platform's.

    Args:
        name: of the experiment's folder; a job that is run again with the same name finds what it had.
        environment: where the platform tells its jobs what they are.
        options: further fields of `ray.tune.RunConfig`; `callbacks` are added to ours.

    Raises:
        NotFound: this is no process of the platform's cluster.
    """
    from ray import tune
    from ray.air.integrations.mlflow import MLflowLoggerCallback

    storage, job_id = environment.get("SLIPWAY_STORAGE"), environment.get("SLIPWAY_JOB_ID")
    if not storage:
        raise NotFound("SLIPWAY_STORAGE is not set: run this inside the cluster, as `ray job submit -- python …` does")
    if not job_id:
        warnings.warn(
            "this is no job of the platform, so its ledger does not count it: submit it by `ray job submit`",
            stacklevel=2,
        )
    tracked = MLflowLoggerCallback(
        tracking_uri=environment.get("MLFLOW_TRACKING_URI"),
        experiment_name=environment.get("MLFLOW_EXPERIMENT_NAME", "slipway"),
        tags={JOB_TAG: job_id, "slipway.trial": "true"} if job_id else {},
    )
    ours: list[Any] = [tracked]
    if job_id:
        ours.append(ledger_callback(Path(report_path(storage, job_id, int(environment.get("SLIPWAY_ATTEMPT", "1"))))))
    callbacks: Sequence[Any] = options.pop("callbacks", ())
    place = run_dir(storage, job_id) if job_id else storage
    return tune.RunConfig(name=name, storage_path=place, callbacks=[*ours, *callbacks], **options)


def ledger_callback(path: Path) -> Any:
    """Give a callback of Tune that tells the platform how many trials are done.

    Args:
        path: of the attempt's report.
    """
    from ray import tune

    class Ledger(tune.Callback):  # type: ignore[misc]  # Ray ships no types
        """Writes the attempt's report whenever a trial ends."""

        def __init__(self) -> None:
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
            numbers = {
                name: float(value)
                for name, value in result.items()
                if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
            }
            done = len(self._ended)
            progress = Progress(done=done, total=max(self._total, done, 1), unit="trials", metrics=numbers)
            _write(path, AttemptReport(status=AttemptStatus.RUNNING, progress=progress))

    return Ledger()


def _write(path: Path, report: AttemptReport) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_text(report.model_dump_json())
    aside.replace(path)
