"""Two control planes at once, as in a rollout gone wrong: whoever acts is stopped or killed amid its submissions."""

import shlex
import signal
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psutil
from sqlalchemy import func, select

from platform_app.adapters.database import connect
from platform_app.adapters.tables import attempts, jobs, leases
from platform_app.client import Platform
from platform_app.domain.job import JobState
from platform_app.views import JobView
from tests.drills.finding import Finding, timing
from tests.drills.second_plane import SecondPlane
from tests.running import Running, eventually

BURST = 6
"""Jobs that are submitted together, by both doors in turn, before each blow."""
_PATIENCE_SECONDS = 240.0
_LOOK_SECONDS = 0.002
"""An attempt is in the ledger some ten milliseconds before Ray has it: the blow falls between."""


class Ledger:
    """What the platform's database says, read past both control planes."""

    def __init__(self, running: Running) -> None:
        self._engine = connect(f"sqlite:///{running.state.home / 'slipway.db'}")

    def holder(self) -> str:
        """Give who holds the lease: `{host}-{pid}-{letters}`."""
        with self._engine.connect() as connection:
            return str(connection.scalar(select(leases.c.holder)))

    def attempts(self) -> list[str]:
        """Give the submission ids of all attempts."""
        with self._engine.connect() as connection:
            return [f"{row.job_id}-{row.number}" for row in connection.execute(select(attempts))]

    def jobs(self) -> int:
        """Count the jobs."""
        with self._engine.connect() as connection:
            return connection.scalar(select(func.count()).select_from(jobs)) or 0

    def wait_for_attempt(self, known: int) -> None:
        """Wait until one more attempt is in the ledger than were known: it is being submitted to Ray."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while len(self.attempts()) <= known:
            assert time.monotonic() < deadline, "no attempt was begun"
            time.sleep(_LOOK_SECONDS)


def second(running: Running, count: int) -> list[Finding]:
    """Start a second control plane, strike whoever acts again and again, then count what was submitted and run."""
    ledger, beside, ran = Ledger(running), SecondPlane(running), running.state.home / "ran"
    doors = (running.client, beside.client)
    moves: dict[signal.Signals, list[float]] = {signal.SIGSTOP: [], signal.SIGKILL: []}
    holders = set()
    answered: list[Future[JobView]] = []
    try:
        with ThreadPoolExecutor(BURST) as pool:
            for place in range(max(3, count // 4)):
                beside.start()
                # Both control planes get both, for the lease goes from one to the other each time.
                blow, known = signal.SIGKILL if place % 3 else signal.SIGSTOP, len(ledger.attempts())
                answered += [pool.submit(_submit, doors[one % 2], ran) for one in range(BURST)]
                ledger.wait_for_attempt(known)
                holders.add(holder := ledger.holder())
                moves[blow].append(_strike(running, ledger, beside, holder, blow))
                print(f"{blow.name} to {holder}: the lease moved in {moves[blow][-1]:.1f} s", flush=True)  # noqa: T201
            beside.start()
        ended = [running.client.wait(future.result().id, timeout=_PATIENCE_SECONDS) for future in answered]
        timings = [timing("second", f"{blow.name} to the next holder", seconds) for blow, seconds in moves.items()]
        return [*_told(running, ledger, ended, ran), _moved(moves, holders), *timings]
    finally:
        beside.end()


def _submit(door: Platform, ran: Path) -> JobView:
    """Submit a command that notes which attempt it is."""
    entrypoint = f'echo "$SLIPWAY_JOB_ID-$SLIPWAY_ATTEMPT" >> {shlex.quote(str(ran))}'
    return door.submit({"kind": "command", "name": "counted", "entrypoint": entrypoint})


def _strike(running: Running, ledger: Ledger, beside: SecondPlane, holder: str, blow: signal.Signals) -> float:
    """Stop or kill who acts, and give the seconds until someone else does."""
    at = time.monotonic()
    with _struck(_its_processes(running, beside, holder, blow), blow):
        eventually(lambda: ledger.holder() != holder, timeout=_PATIENCE_SECONDS)
        return time.monotonic() - at


def _its_processes(
    running: Running, beside: SecondPlane, holder: str, blow: signal.Signals
) -> Sequence[psutil.Process]:
    """Give the processes of the control plane that holds the lease.

    Only its reconciler is stopped: an API may be amid a write, and what is stopped there keeps SQLite locked.
    """
    pid = int(holder.split("-")[-2])
    if blow is signal.SIGSTOP:
        return [psutil.Process(pid)]
    seconds = beside.processes()
    if any(process.pid == pid for process in seconds):
        return seconds
    return [psutil.Process(pid), *running.processes("ServeReplica:slipway:control-plane")]


@contextmanager
def _struck(processes: Sequence[psutil.Process], blow: signal.Signals) -> Iterator[None]:
    for process in processes:
        process.send_signal(blow)
    try:
        yield
    finally:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGCONT)


def _told(running: Running, ledger: Ledger, ended: Sequence[JobView], ran: Path) -> list[Finding]:
    """Compare the answers, the ledger, Ray's own list and what the commands noted."""
    wanted, ids = Counter(ledger.attempts()), {job.id for job in ended}
    headers = {"Authorization": f"Bearer {running.state.ray_token}"}
    answer = httpx.get(f"{running.state.dashboard_url}/api/jobs/", headers=headers, timeout=60).raise_for_status()
    known = Counter(job["submission_id"] for job in answer.json() if job["submission_id"])
    noted = Counter(ran.read_text().split())
    succeeded = sum(job.state is JobState.SUCCEEDED for job in ended)
    once = sum(len(job.attempts) == 1 for job in ended)
    return [
        Finding(
            "second",
            "submissions by two doors: answered, of so many different jobs, and jobs in the ledger",
            f"{len(ended)}, {len(ids)}, {ledger.jobs()}",
            len(ended) == len(ids) == ledger.jobs(),
        ),
        Finding(
            "second",
            "jobs that succeeded; with one attempt",
            f"{succeeded}, {once}",
            succeeded == once == len(ended),
        ),
        Finding(
            "second",
            "attempts in the ledger; Ray jobs in Ray's own list, of them the attempts'",
            f"{wanted.total()}; {known.total()}, {(known & wanted).total()}",
            known == wanted,
        ),
        Finding(
            "second",
            "times that each attempt's command was run",
            str(sorted(Counter(noted.values()))),
            noted == wanted,
        ),
    ]


def _moved(moves: Mapping[signal.Signals, Sequence[float]], holders: Collection[str]) -> Finding:
    what = "blows at who held the lease, each amid a submission, after which it moved; and so many have held it"
    blows = ", ".join(f"{len(seconds)} {blow.name}" for blow, seconds in moves.items())
    return Finding("second", what, f"{blows}; {len(holders)}", len(holders) > 1)
