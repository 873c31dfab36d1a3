"""What runs the training loop in a worker of Ray Train, which keeps its own checkpoints."""

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from jobs.agreement import Wish
from jobs.attempt import Attempt
from jobs.checkpoints import ALONE, Checkpoints, Writers
from jobs.journal import Journal
from jobs.loop import Log, Saved
from jobs.metrics import own_metrics
from jobs.notice import is_draining, own_node
from jobs.pulse import Every, Pulse, PulseWriter, is_asked_to_leave
from jobs.saver import Saver
from jobs.seat import Seat
from jobs.system_metrics import INTERVAL_SECONDS, SystemMetrics


class TrainHost:
    """A worker of a training run."""

    def __init__(self, run_dir: Path, generation: str, rank: int, saver: Saver | None = None) -> None:
        self._saver = saver
        self._run_dir = run_dir
        self._generation = generation
        self._rank = rank
        self._node = own_node()
        self._wish = Wish.NOTHING

    def wish(self) -> Wish:
        """Leave, once this worker's node is drained, the driver has asked for it, or too many checkpoints failed."""
        return Wish.LEAVE if self._saver and self._saver.has_failed else self._wish

    def look(self) -> None:
        """Look whether there is reason to leave; takes milliseconds, and is not for the training's thread."""
        asked = self._rank == 0 and is_asked_to_leave(self._run_dir, self._generation)
        if asked or is_draining(self._node):
            self._wish = Wish.LEAVE

    def stepped(self, step: int) -> None:
        """The first worker counts."""

    def save(self, saved: Saved) -> None:
        """Have it written, if this worker writes."""
        if self._saver:
            self._saver.save(saved["step"], saved)

    def end_epoch(self, metrics: dict[str, float], saved: Saved | None) -> None:
        """Have its checkpoint written, if this worker writes; the first worker tells of it."""
        if self._saver and saved:
            self._saver.save(saved["step"], saved, metrics)

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """The first worker takes them."""


class FirstTrainHost(TrainHost):
    """The worker of rank 0: it tells people and the driver, and writes the checkpoints."""

    def __init__(self, run_dir: Path, generation: str, pulse: PulseWriter, saver: Saver, log: Log) -> None:
        super().__init__(run_dir, generation, rank=0, saver=saver)
        self._pulse = pulse
        self._log = log

    def stepped(self, step: int) -> None:
        """Tell the driver, in a moment."""
        self._pulse.stepped(step)

    def end_epoch(self, metrics: dict[str, float], saved: Saved | None) -> None:
        """Tell of the epoch, and have its checkpoint written."""
        shown = " ".join(f"{name} {value:.4f}" for name, value in metrics.items() if isinstance(value, float))
        print(f"epoch {metrics['epoch']}: {shown}", flush=True)  # noqa: T201
        self._pulse.end_epoch(own_metrics(metrics))
        super().end_epoch(metrics, saved)

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Have it sent."""
        self._log(metrics, step)


@contextmanager
def train_host(
    attempt: Attempt, generation: str, seat: Seat, checkpoints: Checkpoints, pulse: Pulse, is_sharded: bool = False
) -> Iterator[TrainHost]:
    """Give a worker its host while the body runs; at the end, what it was given is written and sent.

    Args:
        attempt: what it works for.
        generation: the start of all workers that this one belongs to.
        seat: this worker's.
        checkpoints: the run's.
        pulse: what the first worker's pulse begins with.
        is_sharded: whether each worker writes a part of every checkpoint, rather than the first of them the whole.

    Raises:
        JobFailed: more checkpoints in a row could not be written than may.
    """
    writers = Writers(seat.rank, seat.exchange()) if is_sharded else ALONE
    max_failures = attempt.spec.checkpointing.max_failures
    with ExitStack() as stack:
        if seat.rank != 0:
            # The first worker, too, learns of what failed here, and tells people.
            saver = stack.enter_context(Saver(checkpoints, max_failures, _unheard, writers)) if is_sharded else None
            host = TrainHost(attempt.run_dir, generation, seat.rank, saver)
        else:
            journal = Journal(attempt.run_dir, generation, time.time)
            stack.enter_context(Every(journal.write, name="journal"))
            system = SystemMetrics(journal.log)
            stack.enter_context(Every(system.sample, name="system-metrics", interval_seconds=INTERVAL_SECONDS))
            writer = PulseWriter(attempt.run_dir, pulse)
            stack.enter_context(Every(writer.write, name="pulse"))
            saver = stack.enter_context(Saver(checkpoints, max_failures, writer.warn, writers))
            host = FirstTrainHost(attempt.run_dir, generation, writer, saver, journal.log)
        stack.enter_context(Every(host.look, name="notice"))
        yield host


def _unheard(_: str) -> None:
    """Take a warning that another worker tells of."""
