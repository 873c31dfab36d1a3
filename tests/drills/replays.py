"""A real spot market is played back against an elastic run of 1 to 4 workers: what share of the time was useful.

The trace is that of a four-node cluster, where there is one in `../shared/traces`, and else one that is generated here.
Hours of it pass in minutes, while a restart takes as long as ever: each weighs as much as one that takes `SPEED` times
as long, so the goodput is far below what the same run would have in the trace's own time.
"""

import random
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path

from platform_app.domain.goodput import share
from platform_app.local.replay import Trace, read_trace, replay
from platform_app.views import JobView
from tests.drills.finding import Finding, timing
from tests.drills.runs import exactly_once, finish, submit, wait_for_steps
from tests.running import Running

TRACES = Path(__file__).parents[3] / "shared" / "traces"
GROUP = "gpu-spot"
FEWEST, MOST = 1, 4
SPEED = 75.0
"""Seconds of the trace for one second here: a sample of five minutes takes four seconds."""
WINDOW, LEAD = 60, 6
"""Samples that are played, and how many of them come before the first change."""
NOTICE_SECONDS = 10.0
EPOCHS, STEPS = 4, 500
SAMPLE_SECONDS = 0.1 / 16
"""A step takes 0.1 s at least on four workers, 0.4 s on one: the steps last the window on four, and so always."""


@dataclass(frozen=True)
class Seen:
    """How far the run was at a moment."""

    at: float
    step: int
    num_workers: int


def replays(running: Running, _count: int) -> list[Finding]:
    """Play a trace back, and reckon goodput in two ways: by what it cost, and by the steps that came of it."""
    name, trace = window(*_trace())
    job = submit(
        running,
        "replayed",
        EPOCHS,
        config={"steps": STEPS, "step_seconds": 0, "sample_seconds": SAMPLE_SECONDS},
        resources={"num_workers": [FEWEST, MOST], "market": "spot"},
    )
    wait_for_steps(running, job.id, 0)
    stop = threading.Event()
    seen: list[Seen] = []
    watcher = threading.Thread(target=_watch, args=(running, job.id, seen, stop), daemon=True)
    watcher.start()
    began = time.time()
    for _ in replay(running.state, GROUP, trace, SPEED, NOTICE_SECONDS):
        pass
    ended = time.time()
    job = finish(running, job)
    stop.set()
    watcher.join()
    lost = [one.steps_lost for one in job.interruptions]
    alive = " ".join(str(number) for number, _ in groupby(trace.data))
    return [
        Finding("replays", f"{name}, at {SPEED:g} times its speed: nodes alive", alive, bool(lost)),
        Finding("replays", "workers that the run had", _sizes(seen), True),
        Finding("replays", "steps lost in each interruption", str(lost), not any(lost)),
        exactly_once(running, "replayed", "replays", EPOCHS),
        *_goodput(job, trace, seen, began, ended),
        timing("replays", "interruption to the next step", [one.seconds for one in job.interruptions]),
    ]


def window(name: str, trace: Trace) -> tuple[str, Trace]:
    """Cut out the first change and what follows, by a rule that knows nothing of what it does to a run."""
    change = next(place for place, (a, b) in enumerate(pairwise(trace.data), start=1) if a != b)
    first = max(0, change - LEAD)
    cut = trace.model_copy(update={"data": trace.data[first : first + WINDOW]})
    hours = cut.seconds / 3600
    return f"{name}, {hours:g} h from sample {first} on", cut


def generated() -> Trace:
    """Make a trace: each of four nodes is lost after two hours on average, and is back 20 minutes later, at random."""
    gap_seconds, chances, alive, data = 300, random.Random(0), [True] * MOST, []
    for _ in range(10 * WINDOW):
        data.append(sum(alive))
        alive = [
            chances.random() >= gap_seconds / 7200 if up else chances.random() < gap_seconds / 1200 for up in alive
        ]
    return Trace.model_validate({"metadata": {"gap_seconds": gap_seconds}, "data": data})


def _trace() -> tuple[str, Trace]:
    if found := sorted(TRACES.glob("spot_preemption_4node_*.json")):
        return found[0].name, read_trace(found[0])
    return f"no trace in {TRACES}, so one that is generated (4 nodes, lost after 2 h, back after 20 min)", generated()


def _watch(running: Running, job_id: str, seen: list[Seen], stop: threading.Event) -> None:
    while not stop.wait(0.5):
        job = running.client.job(job_id)
        if job.progress and job.progress.at and job.num_workers:
            now = Seen(job.progress.at.timestamp(), job.progress.done, job.num_workers)
            if not seen or now != seen[-1]:
                seen.append(now)


def _sizes(seen: Sequence[Seen]) -> str:
    return " → ".join(str(size) for size, _ in groupby(one.num_workers for one in seen))


def _goodput(job: JobView, trace: Trace, seen: Sequence[Seen], began: float, ended: float) -> list[Finding]:
    """Reckon it over the time of the replay: by what was lost, and by what was made."""
    wall = ended - began
    in_stock = wall - trace.metadata.gap_seconds / SPEED * sum(alive < FEWEST for alive in trace.data)
    inside = [one for one in job.interruptions if began <= one.at.timestamp() < ended]
    # A wait that goes on beyond the replay counts as far as it is part of it.
    waits = [one.model_copy(update={"seconds": min(one.seconds, ended - one.at.timestamp())}) for one in inside]
    steps, seconds = _steps(seen, began, ended), _undisturbed(job, seen)
    useful = sum(count * seconds[size] for size, count in steps.items())
    sums = " + ".join(f"{count} × {seconds[size]:.3f} s on {size}" for size, count in sorted(steps.items()))
    told = [
        (f"goodput of {wall:.0f} s, less waits and the time of lost steps", share(wall, waits)),
        (f"of the {in_stock:.0f} s with at least {FEWEST} node in stock", share(wall, waits, wall - in_stock)),
        (f"steps in the weights × undisturbed step: ({sums}) / {wall:.0f} s", useful / wall),
        (f"of the {in_stock:.0f} s with at least {FEWEST} node in stock", useful / in_stock),
    ]
    lost = sum(one.gpu_seconds_lost for one in inside)
    figures = [Finding("replays", what, f"{figure:.3f}", True) for what, figure in told]
    return [*figures, Finding("replays", f"GPU-seconds lost to {len(inside)} interruptions", f"{lost:.1f}", True)]


def _steps(seen: Sequence[Seen], began: float, ended: float) -> Counter[int]:
    """Count the steps of a time that are in the final weights, by how many workers took them."""
    steps: Counter[int] = Counter()
    for before, after in pairwise(seen):
        if began <= after.at < ended:
            steps[after.num_workers] += after.step - before.step  # less than 0 where steps were lost
    return steps


def _undisturbed(job: JobView, seen: Sequence[Seen]) -> dict[int, float]:
    """Give the time of a step by the number of workers: that of the longest stretch without an interruption."""
    stretches: list[list[Seen]] = [[]]
    cuts = [one.at.timestamp() for one in job.interruptions]
    for one in seen:
        if stretches[-1] and any(stretches[-1][-1].at <= cut < one.at for cut in cuts):
            stretches.append([])
        stretches[-1].append(one)
    longest: dict[int, tuple[float, float]] = {}
    for first, last in ((stretch[0], stretch[-1]) for stretch in stretches if stretch):
        if (steps := last.step - first.step) > 0:
            seconds = last.at - first.at
            longest[last.num_workers] = max(longest.get(last.num_workers, (0, 0)), (seconds, seconds / steps))
    return Counter({size: each for size, (_, each) in longest.items()})
