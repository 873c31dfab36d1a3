"""Metrics on their way from the first worker to the driver, which sends them to MLflow.

They are lines of a file on storage, one file for each generation of workers. So a worker does not import MLflow beside
the training, which would be slowed down for seconds, and what it has told outlives it, its driver and MLflow's absence.
A driver that takes over sends everything once more: MLflow keeps a point of the same step, time and value only once.
"""

from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

from pydantic import ConfigDict, ValidationError

from platform_app.specs import Spec

_NAME = "metrics-{generation}.jsonl"
_FILES = _NAME.format(generation="*")

Log = Callable[[Mapping[str, float], int, int], None]
"""Takes metrics, their step, and when they were told, in milliseconds of the Unix epoch."""


class Entry(Spec):
    """A line."""

    model_config = ConfigDict(allow_inf_nan=True, ser_json_inf_nan="strings")

    at: int
    """Milliseconds of the Unix epoch."""
    step: int
    metrics: dict[str, float]


class Journal:
    """The first worker's end, for one generation."""

    def __init__(self, run_dir: Path, generation: str, clock: Callable[[], float]) -> None:
        """Begin.

        Args:
            run_dir: the run's folder, on storage.
            generation: of workers.
            clock: seconds of the Unix epoch.
        """
        self._path = run_dir / _NAME.format(generation=generation)
        self._clock = clock
        self._told: deque[Entry] = deque()

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Take metrics; returns at once."""
        self._told.append(Entry(at=int(self._clock() * 1000), step=step, metrics=dict(metrics)))

    def write(self) -> None:
        """Append what was taken; not for the training's thread.

        Raises:
            OSError: it cannot be written now, and is kept for the next time.
        """
        entries = [self._told[index] for index in range(len(self._told))]
        if not entries:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # Closed each time: on NFS others see then what was written.
        with self._path.open("ab") as file:
            file.write(b"".join(entry.model_dump_json().encode() + b"\n" for entry in entries))
        for _ in entries:
            self._told.popleft()


class JournalReader:
    """The driver's end, for all generations of a run."""

    def __init__(self, run_dir: Path, log: Log) -> None:
        self._run_dir = run_dir
        self._log = log
        self._read: dict[Path, int] = {}

    def read(self) -> None:
        """Hand on what is new, up to the last whole line."""
        for path in sorted(self._run_dir.glob(_FILES)):
            begin = self._read.get(path, 0)
            with path.open("rb") as file:
                file.seek(begin)
                whole, newline, _ = file.read().rpartition(b"\n")
            self._read[path] = begin + len(whole) + len(newline)
            for line in whole.splitlines():
                self._hand_on(line)

    def forget(self) -> None:
        """Remove what was handed on: it has arrived, and the run is done."""
        for path in self._read:
            path.unlink(missing_ok=True)

    def _hand_on(self, line: bytes) -> None:
        try:
            entry = Entry.model_validate_json(line)
        except ValidationError:
            return  # a full disk cut it off, and the next one was written behind it
        self._log(entry.metrics, entry.step, entry.at)
