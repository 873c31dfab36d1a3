"""Steps per second of DDP on two workers: Slipway's loop on Ray Train beside `torchrun`, same model, data and batch.

Both are timed from the 50th step on, inside the run, so that no start-up counts. The second figure is the time of a
step with a checkpoint every 10 steps over that of one without. Machines are noisy: all three are run in each round, and
what counts is the median of the rounds' ratios.
"""

import json
import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from mlflow import MlflowClient
from rich.progress import track

from tests.benchmarks.figure import Figure

CODE = Path(__file__).parent / "code"
STEPS, WARM_UP = 600, 50
THREADS = "1"


def torchrun(steps: int) -> float:
    """Time the peer."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(CODE), os.getcwd()]), "OMP_NUM_THREADS": THREADS}
    done = _run([*command, str(CODE / "plain_ddp.py"), str(steps)], environment)
    return float(done.split("STEPS_PER_SECOND")[1].split()[0])


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
            "RAY_worker_niceness": "0",  # as torchrun's are: by default Ray's give way to whatever else there is
            "PYTHONPATH": os.pathsep.join([str(CODE), os.getcwd()]),
            "OMP_NUM_THREADS": THREADS,
        }
        command = [sys.executable, "-m", "jobs.train", "--spec", json.dumps(spec)]
        _run(command, environment)
        client = MlflowClient(f"sqlite:///{storage}/mlflow.db")
        experiment = client.get_experiment_by_name("slipway")
        (run,) = client.search_runs([experiment.experiment_id])
        points = sorted(client.get_metric_history(run.info.run_id, "train_loss_step"), key=lambda point: point.step)
    first = next(point for point in points if point.step >= WARM_UP)
    return (points[-1].step - first.step) / ((points[-1].timestamp - first.timestamp) / 1000)


def ddp(rounds: int) -> list[Figure]:
    """Measure so many rounds, and say of each how fast it went; every other round goes the other way about."""
    runs = {
        "torchrun": partial(torchrun, STEPS),
        "plain": partial(slipway, STEPS),
        "checkpointed": partial(slipway, STEPS, every_steps=10),
    }
    speeds: dict[str, list[float]] = {name: [] for name in runs}
    for number in track(range(rounds), description="rounds"):
        for name in reversed(runs) if number % 2 else runs:
            speeds[name].append(runs[name]())
    times = {name: [1000 / speed for speed in speeds[name]] for name in speeds}
    return [
        Figure(
            part="ddp",
            what="DDP on two workers, beside torchrun",
            unit="steps/s",
            ours=speeds["plain"],
            peer=speeds["torchrun"],
            goal=0.98,
            at_least=True,
        ),
        Figure(
            part="ddp",
            what="a step with a checkpoint every 10, beside one without",
            unit="ms",
            ours=times["checkpointed"],
            peer=times["plain"],
            goal=1.03,
            at_least=False,
        ),
    ]


def _run(command: list[str], environment: dict[str, str]) -> str:
    """Run one and give what it printed; where it fails, the end of that is the message."""
    done = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=900
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:4])} ended with {done.returncode}:\n{done.stdout[-4000:]}")
    return done.stdout
