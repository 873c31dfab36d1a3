"""The state of a sweep, whole and on storage before anything that depends on it is done.

Ray Tune writes its state every few seconds, file by file, leaves the scheduler out of it, and begins anew when it
cannot read what it wrote. Here the state is one file, replaced whole, written before a new trial starts and as soon
as one has ended: a trial has started or ended when the file says so, and only then is anybody told.
"""

import contextlib
import io
import os
import pickle
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ray import cloudpickle
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler

_FILE = "sweep-state.pickle"
_SCHEDULER = "scheduler"
_STATUSES = "statuses"
_SHARE_OF_TIME = 0.05
"""Of the driver's time for writing what trials report; what starts and ends is written whatever it takes."""


class StateFile:
    """The state of a sweep in its folder, as Tune's own files and the scheduler."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def exists(self) -> bool:
        """Say whether there is a state to go on from; without one no trial has started."""
        return (self._folder / _FILE).exists()

    def write(self, parts: Mapping[str, bytes]) -> None:
        """Replace the state; whoever reads finds the one before or this one."""
        self._folder.mkdir(parents=True, exist_ok=True)
        handle, aside = tempfile.mkstemp(dir=self._folder, prefix=f".{_FILE}.")
        try:
            with os.fdopen(handle, "wb") as file:
                pickle.dump(dict(parts), file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(aside, self._folder / _FILE)
        except BaseException:
            Path(aside).unlink(missing_ok=True)
            raise

    def lay_out(self) -> dict[str, bytes]:
        """Put Tune's files where Tune reads them, and give the other parts; whatever else Tune left is removed."""
        parts: dict[str, bytes] = pickle.loads((self._folder / _FILE).read_bytes())  # noqa: S301  # our own
        for left in self._folder.glob("*state*-*.*"):
            left.unlink()
        for name in [name for name in parts if "." in name]:
            (self._folder / name).write_bytes(parts.pop(name))
        return parts


class DurableScheduler(TrialScheduler):
    """A scheduler of Tune's, whose decisions are on storage before they are acted upon.

    Tune asks its scheduler what to run after it has drawn new trials and before it starts any: there it writes.
    """

    def __init__(
        self, scheduler: TrialScheduler, state: StateFile, num_to_keep: int, on_commit: Callable[[], None]
    ) -> None:
        """Wrap a scheduler; it goes on from the state, where there is one.

        Args:
            scheduler: as the spec says.
            state: of this sweep.
            num_to_keep: best checkpoints of each trial that stay; the latest stays too.
            on_commit: called when the state is on storage.
        """
        super().__init__()
        self._scheduler = scheduler
        self._state = state
        self._num_to_keep = num_to_keep
        self._on_commit = on_commit
        self._saved = state.lay_out() if state.exists() else {}
        self._restored: dict[str, Trial] = {}
        self._controller: Any = None
        self._is_due = False
        self._due_from: float | None = None
        """When what was reported is due, by the monotonic clock; None when there is nothing new."""
        self._earliest = 0.0

    @property
    def metric(self) -> str | None:
        """What trials are compared by."""
        return self._scheduler.metric

    @property
    def supports_buffered_results(self) -> bool:
        """Say no: a result is taken when it comes."""
        return False

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Take what is compared, and which way is better."""
        return self._scheduler.set_search_properties(metric, mode, **spec)

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Take a trial that is new, or restored."""
        self._is_due = True
        if self._saved:
            self._restored[trial.trial_id] = trial
        else:
            self._scheduler.on_trial_add(tune_controller, trial)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Decide on how a trial goes on."""
        self._due_from = self._earliest
        return self._scheduler.on_trial_result(tune_controller, trial, result)

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        """Take the end of a trial that ran."""
        self._is_due = True
        self._scheduler.on_trial_complete(tune_controller, trial, result)

    def on_trial_remove(self, tune_controller: Any, trial: Trial) -> None:
        """Take the end of a trial that waited."""
        self._is_due = True
        self._scheduler.on_trial_remove(tune_controller, trial)

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        """Take a trial's failure."""
        self._is_due = True
        self._scheduler.on_trial_error(tune_controller, trial)

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """Write what is due, and then say what to run."""
        self._controller = getattr(tune_controller, "_tune_controller", tune_controller)
        if self._saved:
            self._go_on()
        if self._is_due or (self._due_from is not None and time.monotonic() >= self._due_from):
            self.commit()
        return self._scheduler.choose_trial_to_run(tune_controller)

    def debug_string(self) -> str:
        """Tell of the scheduler."""
        return self._scheduler.debug_string()

    def commit(self) -> None:
        """Write the state, tell of it, and remove the checkpoints that it no longer needs."""
        if self._controller is None:  # every trial had ended before
            self._on_commit()
            return
        began = time.monotonic()
        self._state.write(self._parts())
        self._is_due, self._due_from = False, None
        self._earliest = time.monotonic() + (time.monotonic() - began) / _SHARE_OF_TIME
        self._on_commit()
        self._remove_checkpoints()

    def _parts(self) -> dict[str, bytes]:
        controller = self._controller
        controller.save_to_dir()
        staged = Path(controller.experiment_state_path).parent
        # The files of earlier attempts lie there too, and the folders of trials.
        files = staged.glob(f"*state*-{controller._session_str}.*")
        parts = {path.name: path.read_bytes() for path in files if path.is_file()}
        statuses = {trial.trial_id: trial.status for trial in controller.get_trials()}
        return parts | {_SCHEDULER: _dump(self._scheduler), _STATUSES: pickle.dumps(statuses)}

    def _go_on(self) -> None:
        """Take the saved scheduler's place, with the trials as Tune has restored them."""
        saved, self._saved = self._saved, {}
        statuses = pickle.loads(saved[_STATUSES])  # noqa: S301  # our own
        if not statuses.keys() <= self._restored.keys():
            # Tune then logs why, and would begin anew.
            raise RuntimeError("the state of the sweep cannot be restored")
        self._scheduler = _load(saved[_SCHEDULER], self._restored)
        for trial_id, status in statuses.items():
            # Tune restores them as trials to run, and some schedulers have them wait for others.
            if status == Trial.PAUSED:
                self._controller._set_trial_status(self._restored[trial_id], Trial.PAUSED)

    def _remove_checkpoints(self) -> None:
        """Remove what is neither among a trial's best nor anything that a trial goes on from.

        Tune would remove checkpoints before its state is written, and a state that names one that is gone restores
        nothing.
        """
        trials = self._controller.get_trials()
        needed = {trial.checkpoint.path for trial in trials if trial.checkpoint}
        # What the better part of a population hands on to the others.
        population = getattr(self._scheduler, "_trial_state", {}).values()
        needed |= {path for each in population if (path := getattr(each.last_checkpoint, "path", None))}
        for trial in trials:
            manager = trial.run_metadata.checkpoint_manager
            for result in manager._checkpoint_results[: -self._num_to_keep]:
                path = result.checkpoint.path
                if path in needed:
                    continue
                manager._checkpoint_results.remove(result)
                # A trial may go on from another's, which is the other's to remove.
                if Path(path).parent.name == Path(trial.path).name:
                    with contextlib.suppress(OSError):
                        shutil.rmtree(path)


class _Pickler(cloudpickle.CloudPickler):
    def persistent_id(self, obj: Any) -> Any:
        if isinstance(obj, Trial):
            return obj.trial_id
        return None


def _dump(scheduler: TrialScheduler) -> bytes:
    file = io.BytesIO()
    _Pickler(file).dump(scheduler)
    return file.getvalue()


def _load(saved: bytes, trials: Mapping[str, Trial]) -> TrialScheduler:
    class Unpickler(pickle.Unpickler):
        def persistent_load(self, pid: Any) -> Any:
            return trials[pid]

    return Unpickler(io.BytesIO(saved)).load()
