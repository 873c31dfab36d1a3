"""A sweep whose driver is killed twice, and the head once with all of Ray: forty results, and no trial twice."""

import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from platform_app.domain.job import JobState
from platform_app.views import JobView
from tests.drills.finding import Finding, timing
from tests.drills.runs import CODE, finish
from tests.running import Running, eventually

TRIALS, AT_ONCE, EPOCHS = 40, 4, 6
EPOCH_SECONDS = 1.0
KILLS = (("jobs.sweep", 6), ("gcs_server", 14), ("jobs.sweep", 24))
"""Titles of what is killed, and how many trials have ended by then: the driver, the head, and the driver again."""
MAX_EPOCHS_AGAIN = 3
"""Epochs that one trial may train again after a kill: that which it was in, and what was not committed yet."""


@dataclass(frozen=True)
class Trained:
    """A file that the workload has left: one epoch of one trial."""

    point: str
    epoch: int
    at: float


def sweeps(running: Running, _count: int) -> list[Finding]:
    """Kill a sweep's driver and its head while trials run, and count what was trained."""
    tally = running.state.home / "tally"
    tally.mkdir()
    job = running.client.submit(_spec(tally), working_dir=CODE)
    ended, killed_at, seconds = [], [], []
    for title, number in KILLS:
        eventually(lambda number=number: _ended(running.client.job(job.id)) >= number, timeout=900)
        ended.append(_ended(running.client.job(job.id)))
        killed_at.append(time.time())
        running.kill(title)
        # What was already under way when its driver died is not yet a trial that goes on.
        back = eventually(lambda at=killed_at[-1]: [one for one in _read(tally) if one.at > at + 5], timeout=900)
        seconds.append(min(one.at for one in back) - killed_at[-1])
    job = finish(running, job)
    trained = _read(tally)
    return [*_results(running, job, trained), *_repeats(trained, ended, killed_at), _time(seconds)]


def _spec(tally: Path) -> dict:
    return {
        "kind": "sweep",
        "name": "swept",
        "workload": "counted_trials:make",
        "config": {"folder": str(tally), "seconds": EPOCH_SECONDS},
        "space": {"x": {"type": "uniform", "low": 0.0, "high": 1.0}},
        "search": {"num_samples": TRIALS, "max_concurrent": AT_ONCE, "seed": 1},
        "epochs": EPOCHS,
        "batch_size": 4,
        "objective": {"metric": "score", "mode": "max"},
        "resources": {"gpus_per_worker": 0.5},
        "registered_model": "swept",
    }


def _ended(job: JobView) -> int:
    if job.state in (JobState.FAILED, JobState.STOPPED):
        raise AssertionError(f"{job.id} is {job.state}: {job.message}")
    return job.progress.done if job.progress else 0


def _read(tally: Path) -> list[Trained]:
    files = [(path.name.split(), path.stat().st_mtime) for path in tally.iterdir()]
    return [Trained(point, int(epoch), at) for (point, epoch, _), at in files]


def _results(running: Running, job: JobView, trained: list[Trained]) -> list[Finding]:
    runs = running.client.trials(job.id)
    finished = sum(run.status == "FINISHED" for run in runs)
    points = len({one.point for one in trained})
    model = running.client.versions("swept")[0]
    best = max(float(one.point) for one in trained)
    told = job.progress.metrics.get("score") if job.progress else None
    same = model.run_id == job.mlflow_run_id
    return [
        Finding(
            "sweeps",
            f"results of {TRIALS} trials: points trained, MLflow runs, of them finished",
            f"{points}, {len(runs)}, {finished}",
            points == len(runs) == finished == TRIALS,
        ),
        Finding("sweeps", "attempts of the job, on one MLflow run", str(len(job.attempts)), same),
        Finding("sweeps", "the best trial is the registered model", f"{told} of {best}", told == best),
    ]


def _repeats(trained: list[Trained], ended: list[int], killed_at: list[float]) -> list[Finding]:
    last = {one.point: max(other.at for other in trained if other.point == one.point) for one in trained}
    times = Counter((one.point, one.epoch) for one in trained)
    kept = [(number, sum(when < at for when in last.values())) for number, at in zip(ended, killed_at, strict=True)]
    again = Counter({point: sum(n - 1 for (q, _), n in times.items() if q == point) for point, _ in times})
    again = +again
    most = max(again.values(), default=0)
    return [
        Finding(
            "sweeps",
            "trials told to have ended before each kill; of them not trained after it",
            ", ".join(f"{told}: {min(told, there)}" for told, there in kept),
            all(there >= told for told, there in kept),
        ),
        Finding(
            "sweeps",
            f"trials that ran at a kill and trained epochs again, of {AT_ONCE * len(killed_at)}; most epochs of one",
            f"{len(again)}; {most}",
            len(again) <= AT_ONCE * len(killed_at) and most <= MAX_EPOCHS_AGAIN,
        ),
    ]


def _time(seconds: list[float]) -> Finding:
    return timing("sweeps", "kill to the end of the next epoch", seconds)
