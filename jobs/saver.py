"""Writing checkpoints beside the training, which waits only where the one before is not written yet."""

import os
import queue
import sys
import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from jobs.checkpoints import ALONE, Checkpoints, Writers
from jobs.failure import JobFailed, describe
from platform_app.specs import FailureCause

_Snapshot = tuple[int, Mapping[str, Any], Mapping[str, float] | None]


class Saver:
    """A thread that commits one checkpoint after another. One that cannot be written fails alone.

    Args:
        checkpoints: where to.
        max_failures: checkpoints in a row that may fail.
        warn: is told of each that does; called from the thread.
        writers: who write each of them together.
    """

    def __init__(
        self, checkpoints: Checkpoints, max_failures: int, warn: Callable[[str], None], writers: Writers = ALONE
    ) -> None:
        self._checkpoints = checkpoints
        self._max_failures = max_failures
        self._warn = warn
        self._writers = writers
        self._failures: list[str] = []
        self._waiting: queue.Queue[_Snapshot | None] = queue.Queue()
        self._thread = threading.Thread(target=self._write_all, name="checkpoints", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        self._waiting.put(None)
        self._thread.join()
        if kind is None and self.has_failed:
            message = f"{len(self._failures)} checkpoints in a row could not be written: {self._failures[-1]}"
            raise JobFailed(FailureCause.CHECKPOINT_FAILED, f"checkpointing.max_failures: {message}")

    @property
    def has_failed(self) -> bool:
        """Whether more in a row could not be written than may: at the end `JobFailed` is raised, unless one is."""
        return len(self._failures) > self._max_failures

    def save(self, step: int, state: Mapping[str, Any], metrics: Mapping[str, float] | None = None) -> None:
        """Have a checkpoint written; the state must not change any more.

        It waits for the one before: a kill costs an interval and what was trained during one write, on any disk.
        """
        self._waiting.join()
        self._waiting.put((step, state, metrics))

    def _write_all(self) -> None:
        if sys.platform == "linux":  # where a thread has a niceness of its own, which may only be raised
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
        while snapshot := self._waiting.get():
            step, state, metrics = snapshot
            try:
                self._checkpoints.commit(step, state, metrics, self._writers)
                self._failures.clear()
            except Exception as error:  # whatever it is, the training goes on without this checkpoint
                self._failures.append(describe(error))
                self._warn(f"the checkpoint of step {step} could not be written: {self._failures[-1]}")
            finally:
                self._waiting.task_done()
