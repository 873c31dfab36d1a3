"""SIGKILLs without notice: at most one checkpoint interval is lost, and no sample is skipped or repeated."""

import itertools
from collections import Counter
from collections.abc import Sequence

from tests.drills.finding import Finding, timing
from tests.drills.plain_train import plain_train
from tests.drills.runs import BATCH, CODE, SAMPLES, SAVE_EVERY, exactly_once, finish, spec
from tests.drills.victims import Kill, Ledger, kill_driver, kill_head, kill_raylet, kill_worker
from tests.running import Running

TARGETS = {"raylet": kill_raylet, "worker": kill_worker, "driver": kill_driver, "head": kill_head}
STEP_SECONDS = 0.1
STEPS_EACH = 60
"""Steps of the run for each kill: what is taken in peace before it, what is lost by it, and some to spare."""


def spread(count: int) -> list[str]:
    """Say what is killed, in order: the head at every tenth place, raylets, workers and drivers in turn at the others.

    The first four are of all four kinds.
    """
    others = itertools.cycle(("raylet", "worker", "driver"))
    return ["head" if place % 10 == 3 else next(others) for place in range(count)]


def peace(place: int) -> int:
    """Say how many steps are taken before a kill: 25 to 34 in turn, so that every place in an interval is met."""
    return 25 + place * 7 % SAVE_EVERY


def kills(running: Running, count: int) -> list[Finding]:
    """Kill raylets, workers, drivers and the head without notice; then the same under plain Ray Train."""
    epochs = (count + 1) * STEPS_EACH * BATCH // SAMPLES
    ledger = Ledger(running.state.home / "ledger")
    wanted = spec("killed", epochs) | {
        "workload": "killed:make",
        "config": {"step_seconds": STEP_SECONDS, "ledger": str(ledger.folder)},
    }
    job = running.client.submit(wanted, working_dir=CODE)
    ledger.wait(groups=1, steps=peace(0))
    run_id = running.client.job(job.id).mlflow_run_id
    costs: list[Kill] = []
    for place, target in enumerate(spread(count)):
        costs.append(ledger.kill(target, lambda target=target: TARGETS[target](running), peace(place + 1)))
        print(costs[-1], flush=True)  # noqa: T201
    job = finish(running, job)
    kinds = Counter(one.target for one in costs)
    what = ", ".join(f"{number} {target}" for target, number in kinds.items())
    attempts, expected = len(job.attempts), 1 + kinds["driver"] + kinds["head"]
    lost = [one.steps_lost for one in costs]
    return [
        Finding(
            "kills",
            f"SIGKILLs ({what}): steps lost in each, at most {SAVE_EVERY}",
            str(lost),
            max(lost) <= SAVE_EVERY,
        ),
        Finding(
            "kills",
            "attempts, one more for each driver and each head; and all in one MLflow run",
            f"{attempts}, {job.mlflow_run_id == run_id}",
            attempts == expected and job.mlflow_run_id == run_id,
        ),
        exactly_once(running, "killed", "kills", epochs),
        *timings("kill", costs),
        *_beside(plain_train(running, max(1, count // 4), STEP_SECONDS, peace)),
    ]


def timings(what: str, costs: Sequence[Kill]) -> list[Finding]:
    """Tell how long it took for each kind of target."""
    found = []
    for target in dict.fromkeys(one.target for one in costs):
        seconds = [one.seconds for one in costs if one.target == target]
        found.append(timing("kills", f"{what} of a {target} to the next step", seconds))
    return found


def _beside(costs: Sequence[Kill]) -> list[Finding]:
    lost = [one.steps_lost for one in costs]
    what = f"for comparison, plain Ray Train with its defaults: steps lost in each, a checkpoint every {SAVE_EVERY}"
    return [Finding("kills", what, str(lost), True), *timings("plain Ray Train: kill", costs)]
