"""Ray Tune as its own documentation has it, in the platform's places.

    from platform_app.client import run_config
    results = ray.tune.Tuner(trainable, run_config=run_config("mine"), ...).fit()

In a job of the platform (`ray job submit -- python tune_it.py` by its door, or `kind: command`) the checkpoints go to
the job's folder on the shared storage, the trials are runs of the job's MLflow experiment, and the ledger knows how
many of them are done: `slipway job`, `slipway trials` and `Platform.best` answer as for a sweep.
"""

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platform_app.errors import NotFound
from platform_app.specs import report_path, run_dir

if TYPE_CHECKING:
    import ray.tune


def run_config(name: str, environment: Mapping[str, str] = os.environ, **options: Any) -> "ray.tune.RunConfig":
    """Give the run configuration by which a plain `ray.tune.Tuner` is one of the platform's.

    Args:
        name: of the experiment's folder; a job that is run again with the same name finds what it had.
        environment: where the platform tells its jobs what they are.
        options: further fields of `ray.tune.RunConfig`; `callbacks` are added to ours.

    Raises:
        NotFound: this is no process of the platform's cluster.
    """
    # Ray takes seconds to import, and most who use the client have no use for it.
    from ray import tune

    from platform_app.client.tune_callbacks import Ledger, TrialRuns

    storage, job_id = environment.get("SLIPWAY_STORAGE"), environment.get("SLIPWAY_JOB_ID")
    if not storage:
        raise NotFound("SLIPWAY_STORAGE is not set: run this inside the cluster, as `ray job submit -- python …` does")
    experiment = environment.get("MLFLOW_EXPERIMENT_NAME", "slipway")
    ours: list[Any] = [TrialRuns(job_id or name, environment.get("MLFLOW_TRACKING_URI"), experiment)]
    if job_id:
        number = int(environment.get("SLIPWAY_ATTEMPT", "1"))
        ours.append(Ledger(Path(report_path(storage, job_id, number))))
    else:
        message = "this is no job of the platform, so its ledger does not count it: submit it by `ray job submit`"
        warnings.warn(message, stacklevel=2)
    callbacks = [*ours, *options.pop("callbacks", ())]
    place = run_dir(storage, job_id) if job_id else storage
    return tune.RunConfig(name=name, storage_path=place, callbacks=callbacks, **options)
