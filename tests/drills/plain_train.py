"""The same kills under plain Ray Train with its defaults, on the same cluster, with the same model and steps."""

import json
import os
import subprocess
import sys
from collections.abc import Callable

from tests.drills.runs import CODE, SAVE_EVERY
from tests.drills.victims import Kill, Ledger, kill_raylet, kill_worker
from tests.running import Running

PROGRAM = CODE / "plain.py"


class Script:
    """The training script, started by hand; and started again at once when it is killed."""

    def __init__(self, running: Running, told: dict) -> None:
        self._running = running
        self._command = [sys.executable, str(PROGRAM), json.dumps(told)]
        self.start()

    def start(self) -> None:
        """Start it, or the same again."""
        address = {"RAY_ADDRESS": self._running.state.ray_address}
        environment = {**os.environ, **self._running.state.shell_environment(), **address}
        with (self._running.state.logs / "plain.log").open("ab") as log:
            self._process = subprocess.Popen(self._command, env=environment, stdout=log, stderr=log)

    def kill(self) -> None:
        """SIGKILL, without a word."""
        self._process.kill()
        self._process.wait()

    def restart(self) -> None:
        """Kill it, and be there to start it again in the same moment."""
        self.kill()
        self.start()


def plain_train(running: Running, each: int, step_seconds: float, peace: Callable[[int], int]) -> list[Kill]:
    """Kill raylets, workers and drivers, so many of each.

    Args:
        running: the cluster.
        each: kills of each kind.
        step_seconds: least time of a step.
        peace: gives the steps that are taken before a kill, by its place.
    """
    ledger = Ledger(running.state.home / "plain-ledger")
    told = {"name": "plain", "storage": str(running.state.storage / "plain"), "save_every": SAVE_EVERY}
    script = Script(running, {**told, "last_step": 10**6, "step_seconds": step_seconds, "ledger": str(ledger.folder)})
    targets = {
        "raylet": lambda: kill_raylet(running),
        "worker": lambda: kill_worker(running),
        "driver": script.restart,
    }
    costs = []
    try:
        ledger.wait(groups=1, steps=peace(0))
        for place in range(3 * each):
            target = list(targets)[place % 3]
            costs.append(ledger.kill(target, targets[target], peace(place + 1)))
            print(costs[-1], flush=True)  # noqa: T201
    finally:
        script.kill()
    return costs
