"""What runs in a training worker: one function for Ray Train, one for Ray Tune, round the same loop.

Failures that trying again cannot mend are returned, or reported as a trial's last result: Ray would retry what is
raised. Everything else is raised, and goes through `max_failures`.
"""

import logging
import math
import os
import time
from collections.abc import Mapping
from functools import partial
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
from jobs.checkpoints import Checkpoints
from jobs.failure import JobFailed, UserCodeFailed, describe, tells_of_a_lost_peer
from jobs.hosts import train_host
from jobs.metrics import comparable
from jobs.peers import beside
from jobs.publish import publish
from jobs.pulse import Pulse
from jobs.sampling import seed_of, steps_per_epoch
from jobs.seat import Seat
from jobs.state import read_state
from jobs.tracking import log_result
from jobs.trial import Origin, TrialHost, keep_hyperparameters, origin
from jobs.workload import Workload, load_object, load_workload
from platform_app.specs import FailureCause, SweepSpec, TrainSpec

Outcome = dict[str, Any]
"""`{"model_version": 3}`, `{"left": True}` or `{"cause": "import-failed", "message": "..."}`."""


def train_worker(config: Mapping[str, str]) -> Outcome:
    """Be one worker of a training run.

    Args:
        config: `{"attempt": Attempt as JSON, "generation": id of this start of all workers}`.
    """
    attempt = Attempt.model_validate_json(config["attempt"])
    spec = attempt.spec
    assert isinstance(spec, TrainSpec)
    _quieten()
    try:
        if spec.train_loop:
            return _call_train_loop(spec.train_loop, attempt)
        return _train_workload(spec, attempt, config["generation"])
    except JobFailed as failure:
        return _refusal(failure)
    except Exception as error:
        if tells_of_a_lost_peer(error):
            raise
        # Ray hands on what is raised without its traceback, and a user's exception may not survive pickling.
        raise UserCodeFailed(describe(error)) from error


def trial(config: Mapping[str, Any], attempt: Attempt) -> None:
    """Be one trial of a sweep; with several workers, the first of them.

    Args:
        config: this trial's point of the search space.
        attempt: the sweep's.
    """
    spec = attempt.spec
    assert isinstance(spec, SweepSpec)
    work = partial(trial_worker, attempt, dict(config), origin())
    try:
        with beside(spec.resources, work):
            work(0)
    except JobFailed as failure:
        worst = comparable(math.nan, spec.objective)
        ray.tune.report({spec.objective.metric: worst, "epoch": 0, **_refusal(failure)})


def trial_worker(attempt: Attempt, config: Mapping[str, Any], resumes_from: Origin | None, rank: int) -> None:
    """Be one of a trial's workers, all of which begin with the same checkpoint."""
    spec = attempt.spec
    _quieten()
    seat = Seat(_device(spec), rank, spec.resources.max_workers)
    workload = _build(spec, config)
    if workload.parallel != "ddp":
        message = f"a trial's checkpoint is one whole model: parallel={workload.parallel} is for training runs"
        raise JobFailed(FailureCause.USER_CODE_FAILED, message)
    if resumes_from and resumes_from.is_anothers:
        keep_hyperparameters(workload)
    loop.fit(spec, workload, seat, resumes_from.read() if resumes_from else None, TrialHost(seat))


def publish_trial(attempt: Attempt, name: str, config: Mapping[str, Any], checkpoint: Checkpoint) -> Outcome:
    """Publish a trial's checkpoint, which was made with this point of the search space."""
    try:
        with checkpoint.as_directory() as folder:
            return {"model_version": publish(attempt, name, _build(attempt.spec, config), Path(folder))}
    except JobFailed as failure:
        return _refusal(failure)


def require_success(outcome: Mapping[str, Any]) -> None:
    """Raise what a worker refused, on the driver.

    Raises:
        JobFailed: the outcome tells of one.
    """
    if "cause" in outcome:
        raise JobFailed(FailureCause(outcome["cause"]), outcome["message"])


def _train_workload(spec: TrainSpec, attempt: Attempt, generation: str) -> Outcome:
    of_run = ray.train.get_context()
    seat = Seat(_device(spec), of_run.get_world_rank(), of_run.get_world_size())
    workload = _build(spec, {})
    checkpoints = Checkpoints(attempt.run_dir / "checkpoints", spec.objective, spec.checkpointing.num_to_keep)
    resume_from, warnings = _resumes_from(checkpoints, seat)
    step = resume_from[1]["step"] if resume_from else 0
    pulse = Pulse(
        generation=generation,
        num_workers=seat.world_size,
        resumed_from=step,
        total_steps=steps_per_epoch(len(workload.train_dataset), spec.batch_size) * spec.epochs,  # type: ignore[arg-type]  # map-style
        step=step,
        at=time.time(),
        warnings=tuple(warnings),
    )
    is_sharded = workload.parallel == "fsdp"
    with train_host(attempt, generation, seat, checkpoints, pulse, is_sharded) as host:
        is_done = loop.fit(spec, workload, seat, resume_from, host)
    if not is_done:
        return {"left": True}
    if seat.rank != 0:
        return {}
    # Here and not on the driver: user code stays off the head, and everything that it needs is loaded here already.
    chosen = checkpoints.best()
    if chosen is None:
        raise JobFailed(FailureCause.CHECKPOINT_FAILED, "no epoch's checkpoint could be written: see the warnings")
    log_result(attempt, chosen.manifest.metrics or {})
    name = spec.registered_model
    if not name:
        return {"model_version": None}
    # A model that was sharded stays so: the checkpoint needs one that is whole.
    return {"model_version": publish(attempt, name, _build(spec, {}) if is_sharded else workload, chosen.path)}


def _resumes_from(checkpoints: Checkpoints, seat: Seat) -> tuple[tuple[str, loop.Saved] | None, list[str]]:
    """Read the newest whole checkpoint, as the first worker finds it, and give what it has to say of others."""
    found, warnings = checkpoints.newest_whole() if seat.rank == 0 else (None, [])
    step = int(seat.sum([found.manifest.step if found else -1 if seat.rank == 0 else 0])[0])
    if step < 0:
        return None, warnings
    path = checkpoints.path_of(step)
    return (path.name, read_state(path)), warnings


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


def _quieten() -> None:
    """Ray tells of every report in several lines; who reads a job's log wants the metrics."""
    logging.getLogger("ray.train").setLevel(logging.WARNING)
    logging.getLogger(context.__file__).setLevel(logging.WARNING)


def _refusal(failure: JobFailed) -> Outcome:
    cause = failure.cause or FailureCause.USER_CODE_FAILED
    return {"cause": cause.value, "message": failure.message}
