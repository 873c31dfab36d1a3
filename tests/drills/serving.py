"""Everything that happens to a deployment, under a constant load: which requests fail, and whose."""

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from platform_app.domain.deployment import DeploymentState
from platform_app.domain.rollout import Phase
from platform_app.specs import DeploymentSpec, RolloutSpec, Step, Strategy
from tests.drills.callers import CALLERS, Answers, load
from tests.drills.finding import Finding
from tests.drills.versions import add_version
from tests.running import Running, eventually

NAME = "steady"
STEPS = (Step(weight=20, hold_seconds=4, min_requests=20), Step(weight=60, hold_seconds=4, min_requests=20))
SETTLE_SECONDS = 3.0
"""Watched after each act, for what comes late."""


@dataclass(frozen=True)
class Act:
    """Something that happens."""

    what: str
    do: Callable[[Running], None]
    kills: bool = False
    """Whether it kills a process that answers, with what that has in work: at most one request of each caller."""


def serving(running: Running, _count: int) -> list[Finding]:
    """Let it all happen, one after the other, and look at each answer."""
    for _ in range(4):
        add_version(running, NAME)
    running.client.promote(NAME, 1)
    _deploy(running)
    running.client.wait_deployed(NAME, timeout=300)
    with load(running, NAME) as answers:
        eventually(lambda: len(answers.all) > 100, timeout=120)
        findings = [_lived(running, answers, act) for act in ACTS]
    total, failed = len(answers.all), len(answers.failed())
    return [*findings, Finding("serving", "requests in all, and those that failed", f"{total}, {failed}", True)]


def _lived(running: Running, answers: Answers, act: Act) -> Finding:
    began = time.time()
    act.do(running)
    time.sleep(SETTLE_SECONDS)
    since, failed = answers.since(began), answers.failed(began)
    longest = max((one.seconds for one in since), default=0)
    why = f": {failed[0].status} {failed[0].text[:80]}" if failed else ""
    seen = f"{len(since)} answers, {len(failed)} failed{why}; longest {longest:.2f} s; {time.time() - began:.0f} s"
    print(act.what, seen, flush=True)  # noqa: T201
    return Finding("serving", act.what, seen, bool(since) and len(failed) <= (CALLERS if act.kills else 0))


def _deploy(running: Running, replicas: int = 1, strategy: Strategy = Strategy.IMMEDIATE) -> None:
    rollout = RolloutSpec(strategy=strategy, steps=STEPS)
    spec = DeploymentSpec(
        model=NAME, cpus_per_replica=0.5, min_replicas=replicas, max_replicas=replicas, rollout=rollout
    )
    running.client.deploy(NAME, spec)


def _promote(running: Running) -> None:
    running.client.promote(NAME, 2)
    running.client.wait_deployed(NAME, 2, timeout=300)


def _canary(running: Running) -> None:
    _deploy(running, strategy=Strategy.CANARY)
    running.client.promote(NAME, 3)
    assert _over(running, 3) is Phase.SUCCEEDED


def _ended_by_hand(running: Running) -> None:
    running.client.promote(NAME, 4)
    eventually(lambda: _rollout(running, 4) and running.client.deployment(NAME).rollout.requests > 10, timeout=300)
    running.client.rollback_deployment(NAME)
    assert _over(running, 4) is Phase.ROLLED_BACK


def _rolled_back(running: Running) -> None:
    running.client.rollback_deployment(NAME)
    assert _over(running, 2) is Phase.SUCCEEDED


def _over(running: Running, version: int) -> Phase:
    eventually(lambda: _rollout(running, version), timeout=120)
    return running.client.wait_rollout(NAME, timeout=600).rollout.phase


def _rollout(running: Running, version: int) -> bool:
    rollout = running.client.deployment(NAME).rollout
    return rollout is not None and rollout.candidate_version == version


def _scale(replicas: int) -> Callable[[Running], None]:
    def scale(running: Running) -> None:
        _deploy(running, replicas)
        eventually(lambda: len(_replicas(running)) == replicas, timeout=300)
        ready = running.client.wait_deployed(NAME, timeout=300)
        assert ready.state is DeploymentState.READY

    return scale


def _replicas(running: Running) -> list:
    return running.processes(f"ServeReplica:model-{NAME}:model")


def _kill_replica(running: Running) -> None:
    victim = _replicas(running)[0]
    victim.send_signal(signal.SIGKILL)
    eventually(lambda: len([one for one in _replicas(running) if one.pid != victim.pid]) == 2, timeout=300)


def _kill_control_plane(running: Running) -> None:
    for title in ("ServeReplica:slipway:control-plane", "ServeReplica:slipway:reconciler"):
        running.kill(title)
    time.sleep(1)
    eventually(lambda: running.client.deployment(NAME).state is DeploymentState.READY, timeout=300)


ACTS = (
    Act("a promotion, immediate", _promote),
    Act("a promotion by canary, through all steps", _canary),
    Act("a canary that a person ends", _ended_by_hand),
    Act("a rollback to what served before", _rolled_back),
    Act("scaled up to 2 replicas", _scale(2)),
    Act("one of 2 replicas killed", _kill_replica, kills=True),
    Act("control plane and reconciler killed", _kill_control_plane),
    Act("scaled down to 1 replica", _scale(1)),
)
