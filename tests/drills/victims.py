"""What is killed, each without notice, and what its run's ledger tells of it."""

import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from platform_app.local import market
from platform_app.local.components import CONTROL_PLANE, RAY
from platform_app.local.processes import members
from tests.running import Running, eventually

_PATIENCE_SECONDS = 400.0
"""For a kill to be got over, on a machine that others use too."""


@dataclass(frozen=True)
class Kill:
    """One kill and what it cost."""

    target: str
    steps_lost: int
    """Steps that were done and had to be done again."""
    seconds: float
    """From the kill to the next step."""


class Ledger:
    """The steps of a run, by the processes that were first of its workers."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder

    def steps(self) -> list[list[tuple[float, int]]]:
        """Read the moment and the number of each step that was begun, for one group of workers after the other."""
        groups = []
        for path in sorted(self.folder.iterdir(), key=lambda path: float(path.name)):
            whole = (line.split() for line in path.read_text().splitlines(keepends=True) if line.endswith("\n"))
            if told := [(float(at), int(step)) for at, step in whole]:
                groups.append(told)
        return groups

    def wait(self, groups: int, steps: int) -> None:
        """Wait until the last of so many groups of workers has begun so many steps."""
        eventually(lambda: len(now := self.steps()) >= groups and len(now[-1]) >= steps, timeout=_PATIENCE_SECONDS)

    def kill(self, target: str, kill: Callable[[], None], steps_between: int) -> Kill:
        """Kill something, wait until the run has gone on for some steps, and reckon what it cost."""
        known, at = len(self.steps()), time.time()
        kill()
        self.wait(known + 1, steps_between)
        groups = self.steps()
        before, (resumed_at, resumed_with) = groups[known - 1][-1][1], groups[known][0]
        # The last step that was begun before was not done, or is not known to be.
        return Kill(target, max(0, before - resumed_with), resumed_at - at)


def kill_raylet(running: Running) -> None:
    """Kill a node on which the training runs, with all that is on it."""
    raylet = _worker(running).ppid()
    market.kill(running.state, next(node.name for node in market.nodes(running.state) if node.raylet_pid == raylet))


def kill_worker(running: Running) -> None:
    """Kill the process of one training worker."""
    _worker(running).send_signal(signal.SIGKILL)


def kill_driver(running: Running, program: str = "jobs.train") -> None:
    """Kill the process that runs a program."""
    (driver,) = (one for one in running.processes(program) if program in one.cmdline())
    driver.send_signal(signal.SIGKILL)


def kill_head(running: Running) -> None:
    """Kill Ray's head and everything else of Ray on this machine: nodes, drivers, workers, the control plane."""
    for process in members(running.state.cluster_id, {RAY, CONTROL_PLANE}):
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)


def _worker(running: Running) -> psutil.Process:
    return eventually(lambda: running.processes("RayTrainWorker"), timeout=30)[-1]
