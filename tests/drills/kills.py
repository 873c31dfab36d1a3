"""SIGKILLs without notice: at most one checkpoint interval is lost, and no sample is skipped or repeated."""

import random
from collections.abc import Callable

from platform_app.local import market
from tests.drills.finding import Finding, timing
from tests.drills.runs import (
    BATCH,
    SAMPLES,
    SAVE_EVERY,
    STEPS_BETWEEN,
    exactly_once,
    finish,
    kill_one,
    submit,
    victim,
    wait_for_steps,
)
from tests.running import Running, eventually


def kills(running: Running, count: int) -> list[Finding]:
    """Kill without notice: raylets, training workers and drivers in turn."""
    epochs = (count + 2) * 4 * STEPS_BETWEEN * BATCH // SAMPLES  # it goes on while a drill looks
    job = submit(running, "killed", epochs)
    targets: tuple[tuple[str, Callable[[], None]], ...] = (
        ("raylet", lambda: market.kill(running.state, victim(running).name) and None),
        ("worker", lambda: kill_one(running, "RayTrainWorker")),
    )
    chances = random.Random(0)
    lost, seconds = [], []
    for done in range(count):
        wait_for_steps(running, job.id, done)
        chances.choice(targets)[1]()
        eventually(lambda done=done: len(running.client.job(job.id).interruptions) > done, timeout=180)
    job = finish(running, job)
    lost = [one.steps_lost for one in job.interruptions]
    seconds = [one.seconds for one in job.interruptions]
    return [
        Finding(
            "kills",
            f"{count} SIGKILLs of raylets and workers: most steps lost, of at most {SAVE_EVERY}",
            str(max(lost)),
            max(lost) <= SAVE_EVERY,
        ),
        exactly_once(running, "killed", "kills", epochs),
        timing("kills", "kill to the next step", seconds),
    ]
