"""Runs of the drills' code, whose weights count what they were made of, and what the drills ask about them."""

import random
import signal
from pathlib import Path

import torch

from platform_app.domain.job import JobState
from platform_app.local import market
from platform_app.local.spot import NodeState
from platform_app.views import JobView
from tests.drills.finding import Finding
from tests.running import Running, eventually

CODE = Path(__file__).parent / "code"
BATCH, SAMPLES = 64, 320
STEPS_BETWEEN = 25
"""Steps that a run takes in peace before it is disturbed again."""
SAVE_EVERY = 10
"""Steps between two checkpoints: the most that a kill without notice may cost."""


def spec(name: str, epochs: int) -> dict:
    """Describe a run whose weights count its samples."""
    return {
        "name": name,
        "workload": "drilled:make",
        "config": {"step_seconds": 0.04},
        "epochs": epochs,
        "batch_size": BATCH,
        "resources": {"num_workers": 2, "market": "spot"},
        "checkpointing": {"every_steps": SAVE_EVERY, "every_epochs": epochs},
        "registered_model": name,
        "max_failures": 0,
    }


def submit(running: Running, name: str, epochs: int, **fields) -> JobView:
    """Submit a run with the drills' code; fields given replace those of its spec."""
    return running.client.submit(spec(name, epochs) | fields, working_dir=CODE)


def finish(running: Running, job: JobView) -> JobView:
    """Wait for a run's success."""
    ended = running.client.wait(job.id, timeout=900)
    if ended.state is not JobState.SUCCEEDED:
        raise AssertionError(f"{job.id} is {ended.state}: {ended.message}\n" + "".join(running.client.logs(job.id)))
    return ended


def wait_for_steps(running: Running, job_id: str, interruptions: int) -> None:
    """Wait until a run has taken some steps after its newest interruption."""

    def steps() -> int:
        job = running.client.job(job_id)
        return job.progress.done if job.progress else 0

    before = eventually(steps, timeout=300)
    eventually(lambda: steps() >= before + STEPS_BETWEEN, timeout=300)


def victim(running: Running) -> market.Node:
    """Choose a spot node that runs."""
    there = eventually(
        lambda: [node for node in market.nodes(running.state) if node.state is NodeState.RUNNING], timeout=60
    )
    return random.choice(there)


def kill_one(running: Running, title: str) -> None:
    """Kill one process with a title."""
    eventually(lambda: running.processes(title), timeout=30)[0].send_signal(signal.SIGKILL)


def weights(running: Running, model: str) -> dict[str, torch.Tensor]:
    """Read the weights of a model's newest version."""
    import mlflow

    mlflow.set_tracking_uri(running.state.tracking_uri)
    version = running.client.versions(model)[0].version
    return mlflow.pytorch.load_model(f"models:/{model}/{version}").state_dict()


def weights_equal(running: Running, one: str, other: str) -> bool:
    """Compare two models bit for bit."""
    first, second = weights(running, one), weights(running, other)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def exactly_once(running: Running, model: str, drill: str, epochs: int) -> Finding:
    """Read from the weights how often each sample was learnt from."""
    seen = -weights(running, model)["seen"]
    counts = seen.round().int().unique().tolist()
    # Among three workers, the mean of a batch of 64 is rounded: what one step adds is 1 but for some ten millionths.
    exact = bool((seen - seen.round()).abs().max() < 0.01)
    what = f"times each of {len(seen)} samples was learnt from, in {epochs} epochs"
    return Finding(drill, what, str(counts), exact and counts == [epochs])
