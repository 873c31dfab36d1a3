"""Dynamic batching: requests that wait at the same time are answered by one call of the model.

Nothing waits for company by default. What comes in while the model is busy, or in the same turn of the event loop, is
the next batch, so batches grow with the load and a lone request is answered at once. `wait_ms` lets a batch that is not
full wait a little longer, where the one before it had company.

A call that is over in about a millisecond runs on the event loop, where handing it to a thread would cost more than
itself; a longer one runs in the one thread of this batcher, so that the loop stays free. What calls take is measured.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from time import perf_counter

import numpy as np

from platform_app.specs import BatchingSpec
from serve.protocol import Array

Arrays = Mapping[str, Array]
Predict = Callable[[Arrays], dict[str, Array]]

_ON_LOOP_SECONDS = 0.001
"""A call that takes less runs on the event loop."""
_GROWTH = 1.05
"""What a call is thought to take rises by no more than this at each call: a busy machine makes single ones slow."""


class Overdue(Exception):
    """The model's outputs did not come in time."""


@dataclass(slots=True)
class _Waiting:
    inputs: Arrays
    rows: int
    kind: tuple[object, ...]
    """Names, dtypes and shapes below the first dimension: only requests of one kind make a batch."""
    since: float
    """By the event loop's clock."""
    outputs: asyncio.Future[dict[str, Array]]


class Batcher:
    """Calls a model for many requests at once, one call at a time."""

    def __init__(
        self,
        predict: Predict,
        spec: BatchingSpec,
        by_rows: bool,
        timeout: float,
        seconds: float = 0.0,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        """Wrap a model.

        Args:
            predict: the model.
            spec: how large batches get, and how long they wait.
            by_rows: whether the first dimension of all it takes and gives counts rows; if not, each request is a call.
            timeout: for how many seconds anyone waits. One clock for all who wait costs a tenth of one for each.
            seconds: what a call is thought to take, before any was measured.
            clock: counts seconds.
        """
        self._predict = predict
        self._timeout = timeout
        self._max_rows = spec.max_rows if by_rows else 1
        self._wait_seconds = spec.wait_ms / 1000
        self._seconds = seconds
        self._queue: deque[_Waiting] = deque()
        self._is_due = False
        """A look at the queue is coming."""
        self._called_for: list[_Waiting] | None = None
        """Those whom the thread's present call is for, while it is in one."""
        self._alarm: asyncio.TimerHandle | None = None
        self._busy_since = 0.0
        self._clock = clock
        self._had_company = False
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="predict")

    async def predict(self, inputs: Arrays) -> dict[str, Array]:
        """Give the model's outputs for these inputs.

        Raises:
            Overdue: they took too long.
            Exception: what the model raises for them, and only for them.
        """
        loop = asyncio.get_running_loop()
        first = next(iter(inputs.values()))
        rows = len(first) if first.ndim else 1
        waiting = _Waiting(inputs, rows, _kind(inputs), loop.time(), loop.create_future())
        self._queue.append(waiting)
        if not self._is_due and self._called_for is None:
            self._is_due = True
            if self._wait_seconds and self._had_company:
                loop.call_later(self._wait_seconds, self._look)
            else:
                loop.call_soon(self._look)
        return await waiting.outputs

    @property
    def busy_seconds(self) -> float:
        """How long the thread has been in its present calls; 0 where it is in none."""
        return 0.0 if self._called_for is None else self._clock() - self._busy_since

    def close(self) -> None:
        """Let the thread go after the call that it is in."""
        self._thread.shutdown(wait=False)

    def _look(self) -> None:
        """Answer the next batch."""
        self._is_due = False
        if self._called_for is not None or not (batch := self._next()):
            return
        self._had_company = len(batch) > 1
        if self._seconds < _ON_LOOP_SECONDS:
            self._give(batch, self._call(batch))
            self._look_again()
            return
        self._called_for = batch
        self._busy_since = self._clock()
        called = asyncio.get_running_loop().run_in_executor(self._thread, self._call, batch)
        called.add_done_callback(lambda done: self._called(batch, done.result()))
        self._watch()

    def _watch(self) -> None:
        """Let go of those who have waited too long; come again for the next of them, as long as the call lasts."""
        loop = asyncio.get_running_loop()
        for waiting in chain(self._called_for or (), self._queue):  # who came first is first
            if waiting.outputs.done():
                continue
            left = waiting.since + self._timeout - loop.time()
            if left > 0:
                break
            waiting.outputs.set_exception(Overdue())
        else:
            left = self._timeout  # nobody waits; whoever comes now may wait so long
        self._alarm = loop.call_later(left, self._watch)

    def _called(self, batch: list[_Waiting], results: list[dict[str, Array] | Exception]) -> None:
        self._called_for = None
        if self._alarm:
            self._alarm.cancel()
        self._give(batch, results)
        self._look_again()

    def _look_again(self) -> None:
        if self._queue and not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_soon(self._look)

    def _next(self) -> list[_Waiting]:
        """Take from the queue what fits into one call; whoever is gone meanwhile is left out."""
        batch: list[_Waiting] = []
        rows = 0
        while self._queue:
            waiting = self._queue[0]
            if waiting.outputs.done():
                self._queue.popleft()
                continue
            if batch and (waiting.kind != batch[0].kind or rows + waiting.rows > self._max_rows):
                break
            batch.append(self._queue.popleft())
            rows += waiting.rows
        return batch

    def _call(self, batch: list[_Waiting]) -> list[dict[str, Array] | Exception]:
        """Call the model once for all, or for each alone where that fails: the others must not suffer for one."""
        if len(batch) > 1:
            try:
                return self._together(batch)
            except Exception:  # noqa: S110  # whose fault it is, the calls below tell
                pass
        return [self._alone(waiting) for waiting in batch]

    def _together(self, batch: list[_Waiting]) -> list[dict[str, Array] | Exception]:
        inputs = {name: np.concatenate([waiting.inputs[name] for waiting in batch]) for name in batch[0].inputs}
        outputs = self._timed(inputs)
        rows = sum(waiting.rows for waiting in batch)
        if wrong := [name for name, array in outputs.items() if not array.ndim or len(array) != rows]:
            raise ValueError(f"output {wrong[0]!r} has not one row for each of the inputs'")
        results: list[dict[str, Array] | Exception] = []
        at = 0
        for waiting in batch:
            results.append({name: array[at : at + waiting.rows] for name, array in outputs.items()})
            at += waiting.rows
        return results

    def _alone(self, waiting: _Waiting) -> dict[str, Array] | Exception:
        try:
            return self._timed(waiting.inputs)
        except Exception as error:
            return error

    def _timed(self, inputs: Arrays) -> dict[str, Array]:
        started = perf_counter()
        outputs = self._predict(inputs)
        self._seconds = min(perf_counter() - started, self._seconds * _GROWTH + 1e-7)
        return outputs

    @staticmethod
    def _give(batch: list[_Waiting], results: list[dict[str, Array] | Exception]) -> None:
        for waiting, result in zip(batch, results, strict=True):
            if waiting.outputs.done():
                continue  # whoever asked is gone
            if isinstance(result, Exception):
                waiting.outputs.set_exception(result)
            else:
                waiting.outputs.set_result(result)


def _kind(inputs: Arrays) -> tuple[object, ...]:
    return tuple((name, array.dtype, array.shape[1:]) for name, array in inputs.items())
