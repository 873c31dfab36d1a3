"""Reclaims with notice: nothing is lost."""

from platform_app.local import market
from tests.drills.finding import Finding, timing
from tests.drills.runs import (
    BATCH,
    SAMPLES,
    STEPS_BETWEEN,
    exactly_once,
    finish,
    submit,
    victim,
    wait_for_steps,
    weights_equal,
)
from tests.running import Running, eventually


def reclaims(running: Running, count: int) -> list[Finding]:
    """Reclaim workers with notice, again and again; then compare with a run that nobody disturbed."""
    epochs = (count + 2) * 4 * STEPS_BETWEEN * BATCH // SAMPLES  # it goes on while a drill looks
    undisturbed = submit(running, "calm", epochs)
    finish(running, undisturbed)
    job = submit(running, "reclaimed", epochs)
    for done in range(count):
        wait_for_steps(running, job.id, done)
        node = victim(running)
        market.reclaim(running.state, node.name, notice_seconds=10)
        eventually(lambda done=done: len(running.client.job(job.id).interruptions) > done, timeout=120)
    job = finish(running, job)
    lost = [one.steps_lost for one in job.interruptions]
    seconds = [one.seconds for one in job.interruptions]
    same = weights_equal(running, "calm", "reclaimed")
    return [
        Finding("reclaims", f"{count} reclaims with notice: steps lost in each", str(lost), set(lost) == {0}),
        Finding("reclaims", "final weights equal those of an undisturbed run, bit for bit", str(same), same),
        exactly_once(running, "reclaimed", "reclaims", epochs),
        timing("reclaims", "notice to the next step", seconds),
    ]
