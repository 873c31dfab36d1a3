"""Sweep: many trials of one workload over a search space with Ray Tune; the best checkpoint becomes a model version.

python -m jobs.sweep --spec jobs/examples/sweep.yaml
ray job submit --working-dir . -- python -m jobs.sweep --spec jobs/examples/sweep.yaml
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler
from ray.tune.search import BasicVariantGenerator
from ray.tune.search.optuna import OptunaSearch

from jobs.attempt import Attempt
from jobs.driver import drive
from jobs.failure import JobFailed, describe_traceback
from jobs.metrics import best
from jobs.placement import bundle, labels
from jobs.tracking import log_result
from jobs.trials import TrialRuns
from jobs.worker import publish_trial, require_success, trial
from platform_app.specs import Asha, Dimension, FailureCause, SweepSpec
from platform_app.specs.search import Choice, Grid, Int, LogUniform, Uniform


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
    trials = TrialRuns(attempt)
    try:
        results = list(_tuner(attempt, spec, trials).fit())
    finally:
        trials.close()
    for result in results:
        require_success(result.metrics or {})
    made = (pair for result in results for pair in result.best_checkpoints)
    # The state of a restored sweep may be older than the last checkpoint that was replaced.
    chosen = best((pair for pair in made if Path(pair[0].path).exists()), spec.objective)
    if chosen is None:
        raise _nothing_came_of_it(results)
    checkpoint, result = chosen
    trials.finished(result)
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


def param_space(space: Mapping[str, Dimension]) -> dict[str, Any]:
    """Give a search space in Ray Tune's words."""
    return {name: _dimension(dimension) for name, dimension in space.items()}


def _dimension(dimension: Dimension) -> Any:
    match dimension:
        case Uniform(low=low, high=high):
            return tune.uniform(low, high)
        case LogUniform(low=low, high=high):
            return tune.loguniform(low, high)
        case Int(low=low, high=high):
            return tune.randint(low, high + 1)  # Tune leaves the upper bound out
        case Choice(values=values):
            return tune.choice(list(values))
        case Grid(values=values):
            return tune.grid_search(list(values))


def _tuner(attempt: Attempt, spec: SweepSpec, trials: TrialRuns) -> tune.Tuner:
    each = tune.PlacementGroupFactory([bundle(spec.resources)], bundle_label_selector=[labels(spec.resources)])
    trainable = tune.with_resources(tune.with_parameters(trial, attempt=attempt), each)
    if tune.Tuner.can_restore(attempt.run_dir):
        return tune.Tuner.restore(str(attempt.run_dir), trainable, resume_unfinished=True, resume_errored=True)
    objective = spec.objective
    return tune.Tuner(
        trainable,
        param_space=param_space(spec.space),
        tune_config=tune.TuneConfig(
            metric=objective.metric,
            mode=objective.mode,
            num_samples=spec.search.num_samples,
            max_concurrent_trials=spec.search.max_concurrent,
            search_alg=_search(spec),
            scheduler=_scheduler(spec),
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name=attempt.job_id,  # the same name is restored by the next attempt
            storage_path=attempt.storage,
            stop=StopWhenRefused(),
            callbacks=[trials],
            failure_config=tune.FailureConfig(max_failures=spec.max_failures),
            checkpoint_config=tune.CheckpointConfig(
                num_to_keep=spec.checkpointing.num_to_keep,
                checkpoint_score_attribute=objective.metric,
                checkpoint_score_order=objective.mode,
            ),
            verbose=0,
        ),
    )


def _search(spec: SweepSpec) -> Any:
    if spec.search.algorithm == "optuna":
        return OptunaSearch(seed=spec.search.seed)
    return BasicVariantGenerator(max_concurrent=spec.search.max_concurrent, random_state=spec.search.seed)


def _scheduler(spec: SweepSpec) -> Any:
    match spec.scheduler:
        case Asha(grace_period=grace_period, reduction_factor=factor):
            return ASHAScheduler(
                time_attr="epoch",
                max_t=spec.epochs,
                grace_period=min(grace_period, spec.epochs),
                reduction_factor=factor,
            )
        case _:
            return FIFOScheduler()


def _nothing_came_of_it(results: list[Any]) -> JobFailed:
    errors = [result.error for result in results if result.error]
    if not errors:
        return JobFailed(FailureCause.USER_CODE_FAILED, "no trial wrote a checkpoint: checkpointing.every_epochs")
    if isinstance(errors[0], ray.exceptions.RayActorError):
        return JobFailed(FailureCause.WORKERS_LOST, f"every trial lost its worker: {str(errors[0]).splitlines()[0]}")
    return JobFailed(
        FailureCause.USER_CODE_FAILED, f"every trial failed; the first: {describe_traceback(str(errors[0]))}"
    )


if __name__ == "__main__":
    drive(SweepSpec, sweep, description="Search hyperparameters of a workload.")
