"""What runs in a training worker: one function for Ray Train, one for Ray Tune, round the same loop.

Failures that trying again cannot mend are returned, or reported as a trial's last result: Ray would retry what is
raised. Everything else is raised, and goes through `max_failures`.
"""

import logging
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray.train
import ray.train.torch
import ray.tune
import torch
from ray.train import Checkpoint
from ray.train.v2._internal.execution import context

from jobs import loop
from jobs.attempt import Attempt
from jobs.failure import JobFailed, UserCodeFailed, describe
from jobs.metrics import best, comparable
from jobs.publish import publish
from jobs.sampling import seed_of
from jobs.seat import Seat
from jobs.tracking import log_result, metric_log
from jobs.workload import Workload, load_object, load_workload
from platform_app.specs import FailureCause, SweepSpec, TrainSpec

Outcome = dict[str, Any]
"""`{"model_version": 3}`, or `{"cause": "import-failed", "message": "..."}`."""


def train_worker(config: Mapping[str, str]) -> Outcome:
    """Be one worker of a training run.

    Args:
        config: `{"attempt": Attempt as JSON}`.
    """
    attempt = Attempt.model_validate_json(config["attempt"])
    spec = attempt.spec
    assert isinstance(spec, TrainSpec)
    _quieten()
    try:
        if spec.train_loop:
            return _call_train_loop(spec.train_loop, attempt)
        return {"model_version": _train_workload(spec, attempt)}
    except JobFailed as failure:
        return _refusal(failure)
    except Exception as error:
        # Ray hands on what is raised without its traceback, and a user's exception may not survive pickling.
        raise UserCodeFailed(describe(error)) from error


def trial(config: Mapping[str, Any], attempt: Attempt) -> None:
    """Be one trial of a sweep.

    Args:
        config: this trial's point of the search space.
        attempt: the sweep's.
    """
    spec = attempt.spec
    assert isinstance(spec, SweepSpec)
    _quieten()
    seat = Seat(_device(spec))
    try:
        workload = _build(spec, config)
        loop.fit(spec, workload, seat, ray.tune.get_checkpoint(), _report_to_tune, _log_nowhere)
    except JobFailed as failure:
        worst = comparable(math.nan, spec.objective)
        ray.tune.report({spec.objective.metric: worst, "epoch": 0, **_refusal(failure)})


def publish_trial(attempt: Attempt, name: str, config: Mapping[str, Any], checkpoint: Checkpoint) -> Outcome:
    """Publish a trial's checkpoint, which was made with this point of the search space."""
    try:
        return {"model_version": publish(attempt, name, _build(attempt.spec, config), checkpoint)}
    except JobFailed as failure:
        return _refusal(failure)


def require_success(outcome: Mapping[str, Any]) -> None:
    """Raise what a worker refused, on the driver.

    Raises:
        JobFailed: the outcome tells of one.
    """
    if "cause" in outcome:
        raise JobFailed(FailureCause(outcome["cause"]), outcome["message"])


def _train_workload(spec: TrainSpec, attempt: Attempt) -> int | None:
    of_run = ray.train.get_context()
    seat = Seat(_device(spec), of_run.get_world_rank(), of_run.get_world_size())
    workload = _build(spec, {})
    if seat.rank != 0:
        loop.fit(spec, workload, seat, ray.train.get_checkpoint(), _report_to_train, _log_nowhere)
        return None
    with metric_log(attempt) as log:
        loop.fit(spec, workload, seat, ray.train.get_checkpoint(), _report_to_train, log)
    # Here and not on the driver: user code stays off the head, and everything that it needs is loaded here already.
    reported = ((each.checkpoint, each.metrics) for each in ray.train.get_all_reported_checkpoints())
    chosen = best(reported, spec.objective)
    assert chosen, "the last epoch always gives a checkpoint"
    checkpoint, result = chosen
    log_result(attempt, result)
    return publish(attempt, spec.registered_model, workload, checkpoint) if spec.registered_model else None


def _call_train_loop(path: str, attempt: Attempt) -> Outcome:
    function = load_object(path, "train_loop")
    os.environ["MLFLOW_TRACKING_URI"] = attempt.tracking_uri
    if ray.train.get_context().get_world_rank() == 0:
        # MLflow's functions then add to the job's run, which the driver has started.
        os.environ["MLFLOW_RUN_ID"] = attempt.run_id
    function(dict(attempt.spec.config))
    return {}


def _build(spec: TrainSpec | SweepSpec, config: Mapping[str, Any]) -> Workload:
    # Every worker begins with the same weights, and every attempt with those of the first.
    torch.manual_seed(seed_of(spec.seed))
    assert spec.workload
    return load_workload(spec.workload, {**spec.config, **config})


def _device(spec: TrainSpec | SweepSpec) -> torch.device:
    """A simulated worker has GPUs that only Ray knows of: what counts is whether torch sees one too."""
    if not (spec.resources.gpus_per_worker and torch.cuda.is_available()):
        return torch.device("cpu")
    return ray.train.torch.get_device() if isinstance(spec, TrainSpec) else torch.device("cuda", 0)


def _report_to_train(metrics: dict[str, float], folder: Path | None) -> None:
    ray.train.report(metrics, checkpoint=ray.train.Checkpoint.from_directory(str(folder)) if folder else None)
    if ray.train.get_context().get_world_rank() == 0:
        shown = " ".join(f"{name} {value:.4f}" for name, value in metrics.items() if isinstance(value, float))
        print(f"epoch {metrics['epoch']}: {shown}", flush=True)  # noqa: T201


def _report_to_tune(metrics: dict[str, float], folder: Path | None) -> None:
    ray.tune.report(metrics, checkpoint=ray.tune.Checkpoint.from_directory(str(folder)) if folder else None)


def _log_nowhere(metrics: Mapping[str, float], step: int) -> None:
    """Another worker, or the sweep's driver, tells MLflow."""


def _quieten() -> None:
    """Ray tells of every report in several lines; who reads a job's log wants the metrics."""
    logging.getLogger("ray.train").setLevel(logging.WARNING)
    logging.getLogger(context.__file__).setLevel(logging.WARNING)


def _refusal(failure: JobFailed) -> Outcome:
    cause = failure.cause or FailureCause.USER_CODE_FAILED
    return {"cause": cause.value, "message": failure.message}
