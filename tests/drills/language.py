"""A language model, whole on each worker and sharded over them, through reclaims with notice and kills without."""

from platform_app.local import market
from tests.drills.finding import Finding, timing
from tests.drills.runs import SAVE_EVERY, STEPS_BETWEEN, finish, kill_one, submit, victim, wait_for_steps, weights_equal
from tests.running import Running, eventually

STEPS_PER_EPOCH = 1000
"""At least, of the text that every Python has."""
PART = 5
"""Of the count of the other drills: this one is about what is special in such models."""


def language(running: Running, count: int) -> list[Finding]:
    """Disturb a run of each kind, and compare it with one that nobody disturbed."""
    return [finding for parallel in ("ddp", "fsdp") for finding in _disturb(running, parallel, max(1, count // PART))]


def _disturb(running: Running, parallel: str, count: int) -> list[Finding]:
    fields = {
        "workload": "language:make",
        "config": {"sequence_length": 32, "warmup_steps": 20, "accumulate": 2, "parallel": parallel},
        "batch_size": 16,
        "precision": "bf16" if parallel == "fsdp" else "fp32",
    }
    epochs = 1 + (2 * count + 2) * 4 * STEPS_BETWEEN // STEPS_PER_EPOCH  # it goes on while a drill looks
    calm, disturbed = f"calm-{parallel}", f"language-{parallel}"
    finish(running, submit(running, calm, epochs, **fields))
    job = submit(running, disturbed, epochs, **fields)
    for done in range(2 * count):
        wait_for_steps(running, job.id, done)
        if done % 2:
            kill_one(running, "RayTrainWorker")
        else:
            market.reclaim(running.state, victim(running).name, notice_seconds=10)
        eventually(lambda done=done: len(running.client.job(job.id).interruptions) > done, timeout=180)
    interruptions = finish(running, job).interruptions
    noticed = [one.steps_lost for one in interruptions if one.cause == "notice"]
    killed = [one.steps_lost for one in interruptions if one.cause != "notice"]
    is_free = len(noticed) >= count and not any(noticed)
    same = weights_equal(running, calm, disturbed)
    kind = f"language model, {parallel}"
    return [
        Finding("language", f"{kind}: {count} reclaims with notice: steps lost in each", str(noticed), is_free),
        Finding(
            "language",
            f"{kind}: {count} SIGKILLs of workers: most steps lost, of at most {SAVE_EVERY}",
            str(max(killed, default=0)),
            max(killed, default=0) <= SAVE_EVERY,
        ),
        Finding("language", f"{kind}: final weights equal those of an undisturbed run, bit for bit", str(same), same),
        timing("language", f"{kind}: to the next step", [one.seconds for one in interruptions]),
    ]
