"""The tour: from nothing running to a served model and back to nothing, by the doors that everyone has.

    python -m jobs.examples.demo [--keep]

Starts the platform with `slipway up`, trains the digits by DDP on two GPU workers, sweeps over 8 trials, promotes the
best version, deploys it, sends it the whole test set over HTTP, compares the served accuracy with the one MLflow
holds, and waits until every worker group is back at zero. Exits 0 only when all of this was seen.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread

import numpy as np
from rich.console import Console
from rich.table import Table

from jobs.workloads.digits import test_set
from platform_app.client import Platform
from platform_app.local.state import find_state
from platform_app.specs import DeploymentSpec
from platform_app.views import JobView, ModelVersionView

EXAMPLES = Path(__file__).parent
MODEL = "digits"
REQUIRED_ACCURACY = 0.95

console = Console()


@dataclass
class Step:
    """One line of the timeline."""

    name: str
    began: float
    """Seconds since the tour began."""
    seconds: float = 0.0
    result: str = ""
    workers: dict[str, int] = field(default_factory=dict)
    """The most workers of each group that were seen alive."""


class Timeline:
    """What happened, when, for how long, and how many workers were alive meanwhile."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self._origin = time.monotonic()
        self._over = Event()

    @contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """Time one step."""
        step = Step(name, time.monotonic() - self._origin)
        self.steps.append(step)
        console.print(f"[bold]{name}[/]")
        try:
            yield step
        finally:
            step.seconds = time.monotonic() - self._origin - step.began

    @contextmanager
    def counting_workers(self, platform: Platform) -> Iterator[None]:
        """Count alive workers every half second, into whichever step is under way."""
        thread = Thread(target=self._count, args=(platform,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def _count(self, platform: Platform) -> None:
        while not self._over.wait(0.5):
            seen = self.steps[-1].workers
            for group in platform.cluster().worker_groups:
                seen[group.name] = max(seen.get(group.name, 0), group.workers)

    def show(self) -> None:
        """Print it all."""
        table = Table("AT", "STEP", "TOOK", "WORKERS (MOST)", "RESULT", box=None, header_style="bold")
        for step in self.steps:
            workers = ", ".join(f"{name} {count}" for name, count in step.workers.items() if count) or "0"
            table.add_row(f"{step.began:5.0f} s", step.name, f"{step.seconds:5.1f} s", workers, step.result)
        # As wide as its longest line, so that no address is broken in two.
        Console(width=max(console.width, 160)).print(table)


def tour(timeline: Timeline) -> None:
    """Do everything after the start, on a platform that is up."""
    platform = Platform()
    with timeline.counting_workers(platform):
        require(workers_alive(platform) == 0, "all worker groups start at 0")
        with timeline.step("train digits by DDP on 2 workers") as step:
            job = run(platform, EXAMPLES / "ddp.yaml")
            accuracy = version_of(platform, job).metrics["accuracy"]
            step.result = f"test accuracy {accuracy:.4f}, {MODEL} version {job.model_version}"
            require(accuracy >= REQUIRED_ACCURACY, f"accuracy {accuracy:.4f} is at least {REQUIRED_ACCURACY}")
            require(step.workers.get("gpu-spot", 0) >= 2, "two spot GPU workers were alive")
        with timeline.step("sweep over 8 trials with early stopping") as step:
            sweep = run(platform, EXAMPLES / "sweep.yaml")
            trials = platform.trials(sweep.id)
            require(len(trials) == 8, f"8 trials are in MLflow; found {len(trials)}")
            step.result = f"{len(trials)} trials, {MODEL} version {sweep.model_version}"
        with timeline.step("promote the winner") as step:
            winner = max(platform.versions(MODEL), key=lambda version: version.metrics.get("accuracy", 0.0))
            platform.promote(MODEL, winner.version)
            step.result = f"version {winner.version}, accuracy {winner.metrics['accuracy']:.4f}"
        with timeline.step("deploy it") as step:
            spec = DeploymentSpec(model=MODEL, min_replicas=0, scale_down_delay_seconds=3)
            platform.deploy(MODEL, spec)
            deployment = platform.wait_deployed(MODEL, winner.version, timeout=120)
            require(deployment.served_version == winner.version, f"the winner is served; {deployment.message}")
            step.result = f"{platform.url}{deployment.url}"
        with timeline.step("send the whole test set by the Open Inference Protocol v2") as step:
            step.result = compare(platform, winner)
        with timeline.step("wait for the worker groups to be back at 0"):
            wait_for_zero(platform)


def run(platform: Platform, spec: Path) -> JobView:
    """Submit a job and wait for it, with a progress bar; it has to succeed."""
    job = platform.wait(platform.submit(spec).id, timeout=300)
    if job.state != "SUCCEEDED":
        for text in platform.logs(job.id):
            console.out(text, highlight=False)
    require(job.state == "SUCCEEDED", f"{job.id} succeeds; it is {job.state}: {job.message}")
    return job


def version_of(platform: Platform, job: JobView) -> ModelVersionView:
    """Give the model version that a job made."""
    return next(version for version in platform.versions(MODEL) if version.version == job.model_version)


def compare(platform: Platform, winner: ModelVersionView) -> str:
    """Send every test image, and hold the served accuracy against MLflow's."""
    images, labels = test_set()
    right = 0
    for start in range(0, len(images), 60):
        outputs = platform.predict(MODEL, {"input": images[start : start + 60]})
        scores = np.asarray(next(iter(outputs.values()))).reshape(-1, 10)
        right += int((scores.argmax(axis=1) == labels[start : start + 60]).sum())
    served, held = right / len(images), winner.metrics["accuracy"]
    require(abs(served - held) < 1e-6, f"served accuracy {served:.6f} equals MLflow's {held:.6f}")
    return f"{len(images)} images, served accuracy {served:.4f} = MLflow's {held:.4f}"


def wait_for_zero(platform: Platform, timeout: float = 120) -> None:
    """Wait until no worker is alive."""
    deadline = time.monotonic() + timeout
    while alive := workers_alive(platform):
        require(time.monotonic() < deadline, f"the worker groups are back at 0; {alive} alive after {timeout:g} s")
        time.sleep(0.5)


def workers_alive(platform: Platform) -> int:
    """Count the workers of all groups."""
    return sum(group.workers + group.pending for group in platform.cluster().worker_groups)


def require(seen: bool, what: str) -> None:
    """End the tour unless something was seen."""
    if not seen:
        raise SystemExit(f"the demo expected: {what}")


def main() -> None:
    """Run the tour; take the platform down at its end unless `--keep`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--keep", action="store_true", help="leave the platform up at the end (as one is that was up before)"
    )
    keep = parser.parse_args().keep
    # A platform that someone else started is used, and left as it was.
    keep = keep or find_state() is not None
    timeline, links = Timeline(), []
    try:
        with timeline.step("start the platform"):
            slipway("up", "--detach")
        state = find_state()
        assert state is not None
        links = [f"{state.api_url}/docs", state.tracking_uri, state.dashboard_url]
        tour(timeline)
    finally:
        if not keep:
            with timeline.step("take everything down"):
                slipway("down")
        timeline.show()
        note = "" if keep else "   (gone now; KEEP=1 make demo leaves them up)"
        console.print(f"API, MLflow, Ray: {'  '.join(links)}{note}", soft_wrap=True)


def slipway(*words: str) -> None:
    """Run the `slipway` command of this environment."""
    subprocess.run([sys.executable, "-m", "platform_app.cli.main", *words], check=True)


if __name__ == "__main__":
    main()
