"""Trials per minute of a sweep, beside plain `ray.tune.Tuner` with its defaults: trials of one second each.

python -m tests.benchmarks.trials --trials 100 --out trials.json
"""

import argparse
import json
import os
import platform
import tempfile
import time
from pathlib import Path

import ray
import torch
from ray import tune
from rich.console import Console
from rich.table import Table

from jobs.attempt import Attempt
from jobs.sweep import sweep
from jobs.tracking import start_run
from platform_app.specs import SweepSpec
from tests.drills.code.tiny import tiny

SPACE = {"x": {"type": "uniform", "low": 0.0, "high": 1.0}}


def make(config):
    """Give a workload whose training takes a second and next to nothing else."""
    return tiny(config["x"], lambda epoch, lr: time.sleep(1))


def plain_trial(config):
    """Take a second and report, as Tune's documentation has it."""
    time.sleep(1)
    tune.report({"score": config["x"]})


def plain_seconds(trials, folder):
    """Give the wall time of the trials under plain Tune."""
    started = time.monotonic()
    tune.Tuner(
        plain_trial,
        param_space={"x": tune.uniform(0.0, 1.0)},
        tune_config=tune.TuneConfig(metric="score", mode="max", num_samples=trials),
        run_config=tune.RunConfig(name="plain", storage_path=str(folder), verbose=0),
    ).fit()
    return time.monotonic() - started


def sweep_seconds(trials, at_once, folder):
    """Give the wall time of the trials as a sweep: with checkpoints, MLflow runs, and a state that is always whole."""
    spec = SweepSpec.model_validate(
        {
            "kind": "sweep",
            "name": "trials",
            "workload": "tests.benchmarks.trials:make",
            "epochs": 1,
            "batch_size": 4,
            "objective": {"metric": "score", "mode": "max"},
            "space": SPACE,
            "search": {"algorithm": "random", "num_samples": trials, "max_concurrent": at_once},
            "scheduler": {"type": "fifo"},
            "resources": {"gpus_per_worker": 0},
        }
    )
    tracking_uri = f"sqlite:///{folder}/mlflow.db"
    attempt = Attempt(spec=spec, job_id="trials", number=1, storage=str(folder), tracking_uri=tracking_uri)
    attempt = attempt.model_copy(update={"run_id": start_run(attempt)})
    started = time.monotonic()
    sweep(attempt)
    return time.monotonic() - started


def main():
    """Measure, print a table, and write the figures where `--out` says."""
    parser = argparse.ArgumentParser(description="Trials per minute, beside plain Ray Tune.")
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--out", type=Path, help="file for the figures, as JSON")
    arguments = parser.parse_args()
    at_once = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as folder:
        ray.init(address="local", num_cpus=at_once, runtime_env={"env_vars": {"RAY_CHDIR_TO_TRIAL_DIR": "0"}})
        # Plain first: the sweep turns off loggers that are among Tune's defaults.
        seconds = {"plain": plain_seconds(arguments.trials, Path(folder))}
        seconds["sweep"] = sweep_seconds(arguments.trials, at_once, Path(folder))
        ray.shutdown()
    per_minute = {name: 60 * arguments.trials / taken for name, taken in seconds.items()}
    figures = {
        "trials": arguments.trials,
        "at_once": at_once,
        "seconds": seconds,
        "trials_per_minute": per_minute,
        "ratio": per_minute["sweep"] / per_minute["plain"],
        "goal": 2.0,
        "machine": {"cpus": os.cpu_count(), "platform": platform.platform()},
        "versions": {"python": platform.python_version(), "ray": ray.__version__, "torch": torch.__version__},
    }
    table = Table("", "seconds", "trials per minute", title=f"{arguments.trials} trials of 1 s, {at_once} at once")
    for name, taken in seconds.items():
        table.add_row(name, f"{taken:.1f}", f"{per_minute[name]:.1f}")
    table.add_row("ratio (goal: at least 2)", "", f"{figures['ratio']:.2f}")
    Console().print(table)
    if arguments.out:
        arguments.out.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
