"""Sweep: many trials of one workload over a search space with Ray Tune; the best checkpoint becomes a model version.

python -m jobs.sweep --spec jobs/examples/sweep.yaml
ray job submit --working-dir . -- python -m jobs.sweep --spec jobs/examples/sweep.yaml
"""

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.experiment import Trial

from jobs.attempt import Attempt
from jobs.driver import drive
from jobs.failure import JobFailed, describe_traceback
from jobs.losses import spare_lost_workers
from jobs.metrics import best
from jobs.placement import bundle, labels
from jobs.search import param_space, search_algorithm, trial_scheduler
from jobs.sweep_state import DurableScheduler, StateFile
from jobs.tracking import log_result
from jobs.trials import TrialRuns
from jobs.worker import publish_trial, require_success, trial
from platform_app.specs import FailureCause, SweepSpec

_RESUME = tune.ResumeConfig(
    finished=tune.ResumeConfig.ResumeType.SKIP,
    unfinished=tune.ResumeConfig.ResumeType.RESUME,
    errored=tune.ResumeConfig.ResumeType.RESUME,
)
_TUNE_DEFAULTS = {
    # The state of the sweep is ours to write; what Tune writes once in a while is not read.
    "TUNE_GLOBAL_CHECKPOINT_S": "inf",
    # Results go to MLflow; Tune's CSV, JSON and TensorBoard files cost each trial time.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
}


class StopWhenRefused(tune.Stopper):
    """Ends the sweep at the first trial that says that none can work, such as a workload that does not import."""

    def __init__(self) -> None:
        self._refused = False

    def __call__(self, trial_id: str, result: Mapping[str, Any]) -> bool:  # noqa: ARG002
        """Take a trial's result; True stops this trial."""
        self._refused |= "cause" in result
        return "cause" in result

    def stop_all(self) -> bool:
        """Say whether to stop all trials."""
        return self._refused


def sweep(attempt: Attempt) -> int | None:
    """Run a sweep to its end and give the model version that it made, if any.

    Raises:
        JobFailed: no trial came to anything; with the cause.
    """
    spec = attempt.spec
    assert isinstance(spec, SweepSpec)
    for name, value in _TUNE_DEFAULTS.items():
        os.environ.setdefault(name, value)
    # It misses the files that Tune's loggers would write.
    logging.getLogger("ray.tune.analysis.experiment_analysis").setLevel(logging.ERROR)
    spare_lost_workers()
    runs = TrialRuns(attempt)
    try:
        trials = _run_trials(attempt, spec, runs)
    finally:
        runs.close()
    for each in trials:
        require_success(each.last_result or {})
    made = (result for each in trials for result in each.run_metadata.checkpoint_manager.best_checkpoint_results)
    # The last that were removed are in the state still.
    chosen = best(
        ((result.checkpoint, result.metrics) for result in made if Path(result.checkpoint.path).exists()),
        spec.objective,
    )
    if chosen is None:
        raise _nothing_came_of_it(trials)
    checkpoint, result = chosen
    runs.finished(result)
    point = {f"best_{name}": value for name, value in result["config"].items()}
    log_result(attempt, result, params=point, tags={"slipway.best_trial": result["trial_id"]})
    if spec.registered_model is None:
        return None
    # On a worker like a trial's, which is still there: user code stays off the head.
    publishing = ray.remote(publish_trial).options(
        num_cpus=spec.resources.cpus_per_worker,
        num_gpus=spec.resources.gpus_per_worker,
        label_selector=labels(spec.resources),
        max_retries=spec.max_failures,
    )
    outcome = ray.get(publishing.remote(attempt, spec.registered_model, result["config"], checkpoint))
    require_success(outcome)
    return int(outcome["model_version"])


def _run_trials(attempt: Attempt, spec: SweepSpec, trials: TrialRuns) -> list[Trial]:
    state = StateFile(attempt.run_dir)
    goes_on = state.exists()
    scheduler = DurableScheduler(trial_scheduler(spec), state, spec.checkpointing.num_to_keep, trials.tell)
    objective, num_workers = spec.objective, spec.resources.max_workers
    analysis = tune.run(
        tune.with_parameters(trial, attempt=attempt),
        name=attempt.job_id,
        storage_path=attempt.storage,
        resume_config=_RESUME if goes_on else None,
        metric=objective.metric,
        mode=objective.mode,
        config=param_space(spec.space),
        num_samples=spec.search.num_samples,
        search_alg=search_algorithm(spec),
        scheduler=scheduler,
        resources_per_trial=tune.PlacementGroupFactory(
            [bundle(spec.resources)] * num_workers, bundle_label_selector=[labels(spec.resources)] * num_workers
        ),
        reuse_actors=True,
        stop=StopWhenRefused(),
        callbacks=[trials],
        max_failures=spec.max_failures,
        raise_on_failed_trial=False,
        # The scheduler removes checkpoints, and not before the state of the sweep does without them.
        checkpoint_config=tune.CheckpointConfig(
            checkpoint_score_attribute=objective.metric, checkpoint_score_order=objective.mode
        ),
        verbose=0,
    )
    scheduler.commit()
    return list(analysis.trials)


def _nothing_came_of_it(trials: list[Trial]) -> JobFailed:
    errors = [error for each in trials if (error := each.get_pickled_error() or each.get_error())]
    if not errors:
        return JobFailed(FailureCause.USER_CODE_FAILED, "no trial wrote a checkpoint: checkpointing.every_epochs")
    if isinstance(errors[0], ray.exceptions.RayActorError):
        return JobFailed(FailureCause.WORKERS_LOST, f"every trial lost its worker: {str(errors[0]).splitlines()[0]}")
    return JobFailed(
        FailureCause.USER_CODE_FAILED, f"every trial failed; the first: {describe_traceback(str(errors[0]))}"
    )


if __name__ == "__main__":
    drive(SweepSpec, sweep, description="Search hyperparameters of a workload.")
