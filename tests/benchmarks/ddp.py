"""Steps per second of DDP on two workers: Slipway's loop on Ray Train beside `torchrun`, same model, data and batch.

    python -m tests.benchmarks.ddp [--rounds 3] [--steps 600] [--out FILE]

Both are timed from the 50th step on, inside the run, so that no start-up counts; rounds alternate, because machines
are noisy, and the median is taken. The second figure is the time of a step with a checkpoint every 10 steps over that
of one without.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from mlflow import MlflowClient
from rich.console import Console
from rich.progress import track

from tests.benchmarks.machine import described

CODE = Path(__file__).parent / "code"
WARM_UP = 50
THREADS = "1"


def torchrun(steps: int) -> float:
    """Time the peer."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(CODE), os.getcwd()]), "OMP_NUM_THREADS": THREADS}
    done = subprocess.run(
        [*command, str(CODE / "plain_ddp.py"), str(steps)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    return float(done.stdout.split("STEPS_PER_SECOND")[1].split()[0])


def slipway(steps: int, every_steps: int | None = None) -> float:
    """Time ours, by the moments at which the loop handed its metrics on."""
    spec = {
        "name": "bench",
        "workload": "synthetic:make",
        "config": {"steps": steps},
        "epochs": 1,
        "batch_size": 256,
        "resources": {"num_workers": 2, "gpus_per_worker": 0, "cpus_per_worker": 1},
        "checkpointing": {"every_steps": every_steps},
    }
    with tempfile.TemporaryDirectory(prefix="slipway-bench-") as storage:
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "SLIPWAY_", "MLFLOW_"))},
            "SLIPWAY_STORAGE": storage,
            "SLIPWAY_JOB_ID": "bench",
            "RAY_AUTH_MODE": "disabled",
            "RAY_USAGE_STATS_ENABLED": "0",
            "PYTHONPATH": os.pathsep.join([str(CODE), os.getcwd()]),
            "OMP_NUM_THREADS": THREADS,
        }
        command = [sys.executable, "-m", "jobs.train", "--spec", json.dumps(spec)]
        subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=300)
        client = MlflowClient(f"sqlite:///{storage}/mlflow.db")
        experiment = client.get_experiment_by_name("slipway")
        (run,) = client.search_runs([experiment.experiment_id])
        points = sorted(client.get_metric_history(run.info.run_id, "train_loss_step"), key=lambda point: point.step)
    first = next(point for point in points if point.step >= WARM_UP)
    return (points[-1].step - first.step) / ((points[-1].timestamp - first.timestamp) / 1000)


def main() -> None:
    """Run it, print a table, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    peer, plain, checkpointed = [], [], []
    for _ in track(range(options.rounds), description="rounds"):
        peer.append(torchrun(options.steps))
        plain.append(slipway(options.steps))
        checkpointed.append(slipway(options.steps, every_steps=10))
    figures = {
        "torchrun_steps_per_second": peer,
        "slipway_steps_per_second": plain,
        "slipway_with_checkpoints_steps_per_second": checkpointed,
        "ratio_to_torchrun": statistics.median(plain) / statistics.median(peer),
        "step_time_with_checkpoints_over_without": statistics.median(plain) / statistics.median(checkpointed),
        **described(),
    }
    Console().print_json(data=figures)
    if options.out:
        options.out.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
