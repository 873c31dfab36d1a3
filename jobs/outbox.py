"""Sends to MLflow from a thread of its own: whoever logs goes on at once, and MLflow may be away for a while."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import tenacity

logger = logging.getLogger(__name__)

BATCH = 1000
"""Metrics that MLflow takes in one call."""


@dataclass
class Run:
    """An MLflow run. Its id is empty until the outbox has created it."""

    id: str = ""


@dataclass(frozen=True)
class _Point:
    run: Run
    name: str
    value: float
    at: int
    """Milliseconds since 1970."""
    step: int


_Item = _Point | Callable[[Any], object]


class Outbox:
    """Metrics and calls on their way to MLflow, in the order in which they were handed in.

    What is waiting is bounded: beyond `limit` the oldest is dropped, with a warning.
    """

    def __init__(
        self,
        connect: Callable[[], Any],
        is_away: Callable[[BaseException], bool],
        limit: int = 100_000,
        longest_wait_seconds: float = 10.0,
    ) -> None:
        """Start sending.

        Args:
            connect: gives an `MlflowClient`; called in the thread, so that importing MLflow holds up nobody.
            is_away: says of an exception whether trying again can help.
            limit: how much may wait.
            longest_wait_seconds: between two tries.
        """
        self._connect = connect
        self._is_away = is_away
        self._waiting: deque[_Item] = deque()
        self._limit = limit
        self._sending = 0
        self._dropped = 0
        self._closed_at: float | None = None
        """When to give up, by the monotonic clock; None while open."""
        self._changed = threading.Condition()
        self._retry_wait = tenacity.wait_exponential(multiplier=0.1, max=longest_wait_seconds)
        self._thread = threading.Thread(target=self._send_all, name="mlflow-outbox", daemon=True)
        self._thread.start()

    def log(self, run: Run, metrics: Mapping[str, float], step: int, at: int | None = None) -> None:
        """Hand in metrics of a step, and of a moment in milliseconds of the Unix epoch (now); returns at once."""
        at = int(time.time() * 1000) if at is None else at
        self._hand_in([_Point(run, name, float(value), at, step) for name, value in metrics.items()])

    def call(self, operation: Callable[[Any], object]) -> None:
        """Hand in something to do with an `MlflowClient`; returns at once. It may be tried several times."""
        self._hand_in([operation])

    @property
    def waiting(self) -> int:
        """How much is not yet on its way."""
        with self._changed:
            return len(self._waiting)

    def close(self, timeout_seconds: float = 120.0) -> int:
        """Send what is waiting, for as long as that, and stop.

        Returns:
            How much was never sent, since the beginning.
        """
        with self._changed:
            self._closed_at = time.monotonic() + timeout_seconds
            self._changed.notify()
        self._thread.join(timeout_seconds)
        with self._changed:
            lost = self._dropped + self._sending + len(self._waiting)
        if lost:
            logger.warning("%d metrics never reached MLflow", lost)
        return lost

    def _hand_in(self, items: list[_Item]) -> None:
        with self._changed:
            self._waiting.extend(items)
            while len(self._waiting) > self._limit:
                self._waiting.popleft()
                if self._dropped % self._limit == 0:
                    logger.warning("MLflow is away and %d metrics wait: dropping the oldest", self._limit)
                self._dropped += 1
            self._changed.notify()

    def _send_all(self) -> None:
        client = None
        while batch := self._next_batch():
            try:
                client = client or self._connect()
                self._retrying()(_send, client, batch)
            except Exception as error:
                logger.warning("MLflow did not take %d metrics or changes: %s", len(batch), error)
                with self._changed:
                    self._dropped += len(batch)
            finally:
                with self._changed:
                    self._sending = 0

    def _next_batch(self) -> list[_Item]:
        """Take one call, or as many metrics of one run as fit; nothing once closed and empty."""
        with self._changed:
            while not self._waiting and self._closed_at is None:
                self._changed.wait()
            if not self._waiting:
                return []
            batch = [self._waiting.popleft()]
            while isinstance(batch[0], _Point) and self._waiting and len(batch) < BATCH:
                following = self._waiting[0]
                if not isinstance(following, _Point) or following.run is not batch[0].run:
                    break
                batch.append(self._waiting.popleft())
            self._sending = len(batch)
            return batch

    def _retrying(self) -> tenacity.Retrying:
        return tenacity.Retrying(
            retry=tenacity.retry_if_exception(self._is_away),
            wait=self._retry_wait,
            stop=lambda _: self._closed_at is not None and time.monotonic() >= self._closed_at,
            sleep=self._sleep,
            reraise=True,
        )

    def _sleep(self, seconds: float) -> None:
        """Wait, but not past the moment of giving up."""
        with self._changed:
            if self._closed_at is None:
                self._changed.wait_for(lambda: self._closed_at is not None, seconds)
                return
            left = self._closed_at - time.monotonic()
        time.sleep(max(0.0, min(seconds, left)))


def _send(client: Any, batch: list[_Item]) -> None:
    first = batch[0]
    if not isinstance(first, _Point):
        first(client)
        return
    from mlflow.entities import Metric

    points = (item for item in batch if isinstance(item, _Point))
    client.log_batch(first.run.id, metrics=[Metric(p.name, p.value, p.at, p.step) for p in points])
