"""What runs the training loop in a sweep's trial: Tune compares trials at the ends of epochs, and owns checkpoints."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray.tune

from jobs.agreement import Wish
from jobs.loop import Saved
from jobs.peers import TrialStopped
from jobs.seat import Seat
from jobs.state import read_state, write_state
from jobs.workload import Workload


class TrialHost:
    """A worker of a trial; the first of them speaks with Tune for all."""

    def __init__(self, seat: Seat) -> None:
        self._seat = seat

    def wish(self) -> Wish:
        """Nothing: Tune ends a trial when it has reported."""
        return Wish.NOTHING

    def stepped(self, step: int) -> None:
        """Tune counts epochs."""

    def save(self, saved: Saved) -> None:
        """A trial has checkpoints at the ends of epochs alone, where Tune compares trials."""

    def end_epoch(self, metrics: dict[str, float], saved: Saved | None) -> None:
        """Report to Tune, which may stop the trial; then it ends on all of its workers.

        Raises:
            SystemExit: it is stopped, and this is the worker that Tune has told.
            TrialStopped: it is stopped, and this is another.
        """
        if self._seat.rank:
            if self._seat.max([0.0])[0]:
                raise TrialStopped
            return
        try:
            _report(metrics, saved)
        except SystemExit:
            self._seat.max([1.0])
            raise
        self._seat.max([0.0])

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """The sweep's driver tells MLflow."""


@dataclass(frozen=True)
class Origin:
    """The checkpoint that Tune has a trial go on from; on storage that all workers share."""

    path: str
    is_anothers: bool
    """It is of another trial of the population."""

    def read(self) -> tuple[str, Saved]:
        """Give its name and what is in it."""
        return Path(self.path).name, read_state(Path(self.path))


def origin() -> Origin | None:
    """Ask Tune what this trial goes on from; None for one that begins."""
    checkpoint = ray.tune.get_checkpoint()
    if checkpoint is None:
        return None
    return Origin(checkpoint.path, is_anothers=ray.tune.get_context().get_trial_id() not in checkpoint.path)


def keep_hyperparameters(workload: Workload) -> None:
    """Have the optimizer keep its hyperparameters when it takes over another's state, which holds the other's."""
    hyperparameters = [
        {name: value for name, value in group.items() if name != "params"} for group in workload.optimizer.param_groups
    ]

    def restore(optimizer: Any) -> None:
        for group, values in zip(optimizer.param_groups, hyperparameters, strict=True):
            group.update(values)

    workload.optimizer.register_load_state_dict_post_hook(restore)


def _report(metrics: dict[str, float], saved: Saved | None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        if saved:
            write_state(Path(folder), saved)
        ray.tune.report(metrics, checkpoint=ray.tune.Checkpoint.from_directory(folder) if saved else None)
