"""Fakes of what is remote to the control plane: the clock, Ray's jobs and the cluster's workers.

`tests.fakes_serving` has the model registry and Serve. What is close is real in tests: SQLite, files, FastAPI.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from datetime import UTC, datetime, timedelta

from platform_app.domain.explain import Sign
from platform_app.domain.job import Reason
from platform_app.domain.supply import GroupCount
from platform_app.errors import PermanentError, TemporaryError
from platform_app.ports import RayJobObservation, RayJobRequest, RayJobStatus, ServingObservation
from platform_app.specs import ServedModel
from tests.fakes_serving import FakeRegistry, FakeServing

ALIVE = (RayJobStatus.PENDING, RayJobStatus.RUNNING)


class FakeClock:
    """A `Clock` that moves when a test moves it."""

    def __init__(self) -> None:
        self._now = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)

    def now(self) -> datetime:
        return self._now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._now += timedelta(seconds=seconds)


class Switch:
    """Something that can be away; a test turns it off and on."""

    def __init__(self, what: str) -> None:
        self._what = what
        self.away = False

    def check(self) -> None:
        """Raise where it is away."""
        if self.away:
            raise TemporaryError(f"{self._what} does not answer")


class Crash(BaseException):
    """The control plane's process dies here."""


class FakeRunner:
    """A `JobRunner` in memory: attempts begin, write and end when the test says so."""

    def __init__(self) -> None:
        self.requests: dict[str, RayJobRequest] = {}
        self.stops: list[str] = []
        self.released: list[str] = []
        self.power = Switch("Ray")
        self.log_power = Switch("Ray's log")
        self.refusal: str | None = None
        """What submissions are refused with."""
        self.put_off: str | None = None
        """What submissions do not go through for, until that has passed."""
        self.crash: str | None = None
        """`before` or `after`: the next submission kills the control plane before or after Ray has taken it."""
        self.broken_tails = 0
        """How many log streams break off after their first piece."""
        self._seen: dict[str, RayJobObservation] = {}
        self._output: dict[str, str] = {}

    # What a test lets happen.

    def begin(self, submission_id: str) -> None:
        """Let an attempt start to run."""
        self._seen[submission_id] = RayJobObservation(RayJobStatus.RUNNING)

    def pend(self, submission_id: str) -> None:
        """Let an attempt wait for its cluster again."""
        self._seen[submission_id] = RayJobObservation(RayJobStatus.PENDING)

    def write(self, submission_id: str, text: str) -> None:
        """Let an attempt write output."""
        self._output[submission_id] = self._output.get(submission_id, "") + text

    def finish(
        self,
        submission_id: str,
        status: RayJobStatus = RayJobStatus.SUCCEEDED,
        message: str = "",
        cause: Reason | None = None,
    ) -> None:
        """Let an attempt end."""
        self._seen[submission_id] = RayJobObservation(status, message, cause)

    def lose_all(self) -> None:
        """Replace the cluster by one that knows nothing."""
        self._seen.clear()
        self._output.clear()

    def alive(self) -> list[str]:
        """Name the attempts that wait or run."""
        return [submission_id for submission_id, seen in self._seen.items() if seen.status in ALIVE]

    # The port.

    def submit(self, request: RayJobRequest) -> None:
        self.power.check()
        crash, self.crash = self.crash, None
        if crash == "before":
            raise Crash
        if self.refusal:
            raise PermanentError(self.refusal)
        if self.put_off:
            raise TemporaryError(self.put_off)
        if request.submission_id not in self._seen:
            self.requests[request.submission_id] = request
            self._seen[request.submission_id] = RayJobObservation(RayJobStatus.PENDING)
            self._output.setdefault(request.submission_id, "")
        if crash == "after":
            raise Crash

    def observe(self) -> Mapping[str, RayJobObservation]:
        self.power.check()
        return dict(self._seen)

    def stop(self, submission_id: str) -> None:
        self.power.check()
        self.stops.append(submission_id)

    def release(self, submission_id: str) -> None:
        self.power.check()
        self.released.append(submission_id)
        self._seen.pop(submission_id, None)

    def logs(self, submission_id: str) -> str | None:
        self.power.check()
        self.log_power.check()
        return self._output.get(submission_id)

    async def tail(self, submission_id: str) -> AsyncIterator[str]:
        read = 0
        while submission_id in self._seen:
            over = self._seen[submission_id].status not in ALIVE
            text = self._output[submission_id]
            if len(text) > read:
                piece, read = text[read:], len(text)
                yield piece
                if self.broken_tails:
                    self.broken_tails -= 1
                    raise TemporaryError("the stream broke off")
            if over:
                return
            await asyncio.sleep(0)


class FakeHeldGpus:
    """`HeldGpus` as a test puts them."""

    def __init__(self) -> None:
        self.held: dict[str, float] = {}
        self.power = Switch("Ray's state")

    def of(self, submission_ids: Collection[str]) -> Mapping[str, float]:
        self.power.check()
        return {name: gpus for name, gpus in self.held.items() if name in submission_ids}


class FakeSigns:
    """`WaitingSigns` as a test puts them."""

    def __init__(self) -> None:
        self.known: dict[str, tuple[Sign, ...]] = {}
        self.asked = 0

    def of(self, submission_ids: Collection[str]) -> Mapping[str, tuple[Sign, ...]]:
        self.asked += 1
        return {submission_id: self.known.get(submission_id, ()) for submission_id in submission_ids}


class AwayRegistry(FakeRegistry):
    """A registry that can be away, or see the control plane die; `asked` counts how often an alias was looked up."""

    def __init__(self) -> None:
        super().__init__()
        self.power = Switch("MLflow")
        self.asked = 0
        self.crash: str | None = None
        """`before` or `after`: the next move of an alias kills the control plane before or after MLflow has made it."""

    def set_alias(self, name: str, alias: str, version: int | None) -> None:
        crash, self.crash = self.crash, None
        if crash == "before":
            raise Crash
        super().set_alias(name, alias, version)
        if crash == "after":
            raise Crash

    def resolve(self, name: str, alias: str) -> int | None:
        self.power.check()
        self.asked += 1
        return super().resolve(name, alias)


class AwayServing(FakeServing):
    """Serve that can be away, refuse, or see the control plane die before or after it has taken what was applied."""

    def __init__(self) -> None:
        super().__init__()
        self.power = Switch("Serve")
        self.refusal: str | None = None
        self.crash: str | None = None
        self.num_applied = 0

    def apply(self, model: ServedModel) -> None:
        self.power.check()
        crash, self.crash = self.crash, None
        if crash == "before":
            raise Crash
        if self.refusal:
            raise PermanentError(self.refusal)
        self.num_applied += 1
        super().apply(model)
        if crash == "after":
            raise Crash

    def observe(self) -> dict[str, ServingObservation]:
        self.power.check()
        return super().observe()


class FakeCluster:
    """A `Cluster` with as many workers as a test says."""

    def __init__(self) -> None:
        self.counts: dict[str, GroupCount] = {}

    def workers(self) -> Mapping[str, GroupCount]:
        return dict(self.counts)
