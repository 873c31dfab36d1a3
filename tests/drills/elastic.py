"""An elastic run goes from 1 to 3 workers and back, in the middle of epochs: nothing is lost, skipped or repeated.

Another job takes the other workers of the spot group, and gives them back.
"""

from platform_app.domain.job import JobState
from platform_app.views import JobView
from tests.drills.finding import Finding, timing
from tests.drills.runs import BATCH, exactly_once, finish, submit, wait_for_steps
from tests.running import Running, eventually

EPOCHS, STEPS = 4, 400
"""Epochs, and steps of each: they take longer than all resizes together."""
FEWEST, MOST = 1, 3
TAKEN = 3
"""Workers that the other job takes of the four that there are: one is left."""
ROUNDS = 2


def elastic(running: Running, _count: int) -> list[Finding]:
    """Let a run grow and shrink, and count what its weights are made of."""
    taker = _take(running)
    job = submit(
        running,
        "elastic",
        EPOCHS,
        config={"steps": STEPS, "step_seconds": 0.1},
        resources={"num_workers": [FEWEST, MOST], "market": "spot"},
    )
    _goes_on(running, job, resizes=0)
    sizes = [running.client.job(job.id).num_workers]
    for done in range(ROUNDS):
        running.client.stop(taker.id)
        _goes_on(running, job, resizes=2 * done + 1)
        taker = _take(running)
        _goes_on(running, job, resizes=2 * done + 2)
    job = finish(running, job)
    running.client.stop(taker.id)
    costs = job.interruptions
    sizes += [one.num_workers for one in costs]
    places = [one.step % STEPS for one in costs]
    expected = [FEWEST, *[MOST, FEWEST] * ROUNDS]
    steps = job.progress.done if job.progress else 0
    return [
        Finding("elastic", "workers that the run had", " → ".join(map(str, sizes)), sizes == expected),
        Finding("elastic", f"steps done of an epoch of {STEPS} at each resize", str(places), all(places)),
        _all_zero("steps lost at each resize", [one.steps_lost for one in costs]),
        Finding(
            "elastic",
            f"optimizer steps in all, each of {BATCH} samples: {EPOCHS * STEPS} at any number of workers",
            str(steps),
            steps == EPOCHS * STEPS,
        ),
        exactly_once(running, "elastic", "elastic", EPOCHS),
        timing("elastic", "pause at a resize", [one.seconds for one in costs]),
    ]


def _take(running: Running) -> JobView:
    """Have another job wait for its workers, or take them where they are free; it ends only when it is stopped."""
    config, resources = {"step_seconds": 0.5}, {"num_workers": TAKEN, "market": "spot"}
    taker = submit(running, "taker", 10_000, config=config, resources=resources)
    eventually(lambda: running.client.job(taker.id).state is not JobState.QUEUED, timeout=180)
    return taker


def _goes_on(running: Running, job: JobView, resizes: int) -> None:
    """Wait until the run has taken some steps after so many resizes."""
    eventually(lambda: len(running.client.job(job.id).interruptions) >= resizes, timeout=240)
    wait_for_steps(running, job.id, resizes)


def _all_zero(what: str, lost: list[int]) -> Finding:
    return Finding("elastic", what, str(lost), bool(lost) and not any(lost))
