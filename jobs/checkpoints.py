"""A run's checkpoints on the shared filesystem. This folder alone says which is the last one.

A checkpoint counts when it is whole: written aside, synced, and renamed to `step-00000120`. Its manifest holds the
checksums of what it is made of, so that what a broken disk or a careless hand left of it is never restored from.

Where a model is sharded, every worker writes its shards, and the first of them commits what all have written.
"""

import os
import shutil
import tempfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
import torch.utils.serialization.config as torch_files
from pydantic import ConfigDict, ValidationError

from jobs.failure import describe
from jobs.metrics import best
from jobs.state import SHARD_FILE, STATE_FILE
from platform_app.specs import Objective, Spec

_MANIFEST = "manifest.json"
_REPLACED = "replaced"
_PART_BYTES = 1 << 20


class Manifest(Spec):
    """What a checkpoint is, and how to tell that it is whole."""

    model_config = ConfigDict(allow_inf_nan=True, ser_json_inf_nan="strings")

    step: int
    """Optimizer steps that are in it."""
    crc32: dict[str, int]
    """Of each of its files. It tells damage, and takes a fifth of the time of a cryptographic digest."""
    metrics: dict[str, float] | None = None
    """Of the epoch that it ends; None in the middle of one."""


@dataclass(frozen=True)
class Writers:
    """The workers that write a checkpoint together, as one of them; alone, a worker writes the whole of it."""

    rank: int = 0
    gather: Callable[[Any], list[Any]] | None = None
    """Takes what this one tells, gives what all of them tell, by rank; not one of the training's own."""

    @property
    def file(self) -> str:
        """Where this one writes."""
        return SHARD_FILE.format(rank=self.rank) if self.gather else STATE_FILE

    def all_do(self, step: int, act: Callable[[], Any]) -> list[Any]:
        """Have each do its part of a checkpoint, and give what came of it, by rank.

        Raises:
            OSError: one of them could not; no one goes on then.
        """
        if self.gather is None:
            return [act()]
        failure = result = None
        try:
            result = act()
        except Exception as error:  # whatever it is, the others have to know
            failure = describe(error)
        told = self.gather((step, failure, result))
        for rank, (its_step, its_failure, _) in enumerate(told):
            if its_failure or its_step != step:
                reason = its_failure or f"it is at the checkpoint of step {its_step}"
                raise OSError(f"worker {rank}: {reason}")
        return [its_result for _, _, its_result in told]


ALONE = Writers()


@dataclass(frozen=True)
class Committed:
    """A checkpoint that was committed."""

    path: Path
    manifest: Manifest


class Checkpoints:
    """The checkpoints of one run. One process writes at a time, or all of one generation together; any may read."""

    def __init__(self, folder: Path, objective: Objective, num_to_keep: int) -> None:
        self._folder = folder
        self._objective = objective
        self._num_to_keep = num_to_keep

    def commit(
        self,
        step: int,
        state: Mapping[str, Any],
        metrics: Mapping[str, float] | None = None,
        writers: Writers = ALONE,
    ) -> None:
        """Write a checkpoint whole, then delete those that need no longer be kept.

        Args:
            step: optimizer steps done.
            state: of the run, in host memory; this worker's, where several write.
            metrics: of the epoch that ends with this step, if one does.
            writers: who write it; each of them calls this for the same steps.

        Raises:
            OSError: it cannot be written; those before are as they were.
            RuntimeError: likewise, as torch tells it.
        """
        is_first = writers.rank == 0
        aside = Path(writers.all_do(step, self._make_aside if is_first else lambda: None)[0])
        try:
            written = writers.all_do(step, lambda: self._write(aside, state, writers))
            if is_first:
                checksums = {name: crc32 for files in written for name, crc32 in files.items()}
                whole = Manifest(step=step, crc32=checksums, metrics=dict(metrics) if metrics else None)
                self._rename(aside, whole)
        finally:
            if is_first:
                shutil.rmtree(aside, ignore_errors=True)
        if is_first:
            shutil.rmtree(self.path_of(step) / _REPLACED, ignore_errors=True)
            self._prune()

    def _make_aside(self) -> str:
        self._folder.mkdir(parents=True, exist_ok=True)
        for left_behind in self._folder.glob(".aside-*"):  # by a writer that was killed
            shutil.rmtree(left_behind, ignore_errors=True)
        return tempfile.mkdtemp(dir=self._folder, prefix=".aside-")

    def _write(self, aside: Path, state: Mapping[str, Any], writers: Writers) -> dict[str, int]:
        """Write this worker's file and give its checksum."""
        return {writers.file: _write_state(aside / writers.file, state)}

    def _rename(self, aside: Path, manifest: Manifest) -> None:
        """Make a checkpoint of the files that were written aside."""
        with (aside / _MANIFEST).open("wb") as file:
            file.write(manifest.model_dump_json().encode())
            _sync(file)
        aside.chmod(0o755)  # mkdtemp's is for its owner alone; a model server may be another user
        _sync_folder(aside)
        committed = self.path_of(manifest.step)
        if committed.exists():  # it is broken, or the end of the epoch makes more of it
            committed.rename(aside / _REPLACED)
        aside.rename(committed)
        _sync_folder(self._folder)

    def path_of(self, step: int) -> Path:
        """Name the folder of a checkpoint."""
        return self._folder / f"step-{step:08d}"

    def all(self) -> list[Committed]:
        """List the checkpoints, oldest first."""
        found = []
        for path in self._folder.glob("step-*"):
            try:
                manifest = Manifest.model_validate_json((path / _MANIFEST).read_bytes())
            except (OSError, ValidationError):
                continue  # someone deleted some of it
            found.append(Committed(path, manifest))
        return sorted(found, key=lambda one: one.manifest.step)

    def newest_whole(self) -> tuple[Committed | None, list[str]]:
        """Find the newest checkpoint that is as it was written; and tell of newer ones that are not."""
        warnings: list[str] = []
        for one in reversed(self.all()):
            if _is_whole(one):
                return one, warnings
            warnings.append(f"checkpoint {one.path.name} is damaged; going back to the one before")
        return None, warnings

    def best(self) -> Committed | None:
        """Choose by the objective among those that end an epoch and are whole; None when there are none."""
        candidates = self.all()
        while chosen := self._best_of(candidates):
            if _is_whole(chosen):
                return chosen
            candidates.remove(chosen)
        return None

    def _best_of(self, candidates: Sequence[Committed]) -> Committed | None:
        chosen = best(((one, one.manifest.metrics) for one in candidates if one.manifest.metrics), self._objective)
        return chosen[0] if chosen else None

    def _prune(self) -> None:
        kept = self.all()
        chosen = self._best_of(kept)
        for one in kept[: -self._num_to_keep]:
            if one != chosen:
                shutil.rmtree(one.path, ignore_errors=True)


class _Checked:
    """A file to write to that reckons the checksum of what is written."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.crc32 = 0

    def write(self, data: bytes) -> int:
        """Write all of it."""
        self.crc32 = zlib.crc32(data, self.crc32)
        return self._file.write(data)

    def flush(self) -> None:
        """Hand what was written to the system."""
        self._file.flush()


def _write_state(path: Path, state: Mapping[str, Any]) -> int:
    with path.open("wb") as file:
        checked = _Checked(file)
        # The archive's own checksums would be one more for the same bytes.
        with torch_files.patch("save.compute_crc32", False):  # type: ignore[attr-defined]  # set at run time
            torch.save(dict(state), checked)  # type: ignore[arg-type]  # it only writes
        _sync(file)
    return checked.crc32


def _is_whole(one: Committed) -> bool:
    try:
        return all(_checksum(one.path / name) == crc32 for name, crc32 in one.manifest.crc32.items())
    except OSError:
        return False


def _checksum(path: Path) -> int:
    crc32 = 0
    with path.open("rb") as file:
        while part := file.read(_PART_BYTES):
            crc32 = zlib.crc32(part, crc32)
    return crc32


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
