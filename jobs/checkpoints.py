"""A run's checkpoints on the shared filesystem. This folder alone says which is the last one.

A checkpoint counts when it is whole: written aside, synced, and renamed to `step-00000120`. Its manifest holds the
checksum of what it is made of, so that what a broken disk or a careless hand left of it is never restored from.
"""

import os
import shutil
import tempfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from pydantic import ConfigDict, ValidationError

from jobs.metrics import best
from jobs.state import STATE_FILE
from platform_app.specs import Objective, Spec

_MANIFEST = "manifest.json"
_PART_BYTES = 1 << 20


class Manifest(Spec):
    """What a checkpoint is, and how to tell that it is whole."""

    model_config = ConfigDict(allow_inf_nan=True, ser_json_inf_nan="strings")

    step: int
    """Optimizer steps that are in it."""
    crc32: int
    """Of the state's file. It tells damage, and takes a fifth of the time of a cryptographic digest."""
    metrics: dict[str, float] | None = None
    """Of the epoch that it ends; None in the middle of one."""


@dataclass(frozen=True)
class Committed:
    """A checkpoint that was committed."""

    path: Path
    manifest: Manifest


class Checkpoints:
    """The checkpoints of one run. One process writes at a time; any may read."""

    def __init__(self, folder: Path, objective: Objective, num_to_keep: int) -> None:
        self._folder = folder
        self._objective = objective
        self._num_to_keep = num_to_keep

    def commit(self, step: int, state: Mapping[str, Any], metrics: Mapping[str, float] | None = None) -> None:
        """Write a checkpoint whole, then delete those that need no longer be kept.

        Args:
            step: optimizer steps done.
            state: of the run, in host memory.
            metrics: of the epoch that ends with this step, if one does.

        Raises:
            OSError: it cannot be written; those before are as they were.
            RuntimeError: likewise, as torch tells it.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(dir=self._folder, prefix=".aside-"))
        try:
            crc32 = _write_state(aside / STATE_FILE, state)
            manifest = Manifest(step=step, crc32=crc32, metrics=dict(metrics) if metrics else None)
            with (aside / _MANIFEST).open("wb") as file:
                file.write(manifest.model_dump_json().encode())
                _sync(file)
            aside.chmod(0o755)  # mkdtemp's is for its owner alone; a model server may be another user
            _sync_folder(aside)
            committed = self.path_of(step)
            if committed.exists():  # it is broken, or the end of the epoch makes more of it
                committed.rename(aside / "replaced")
            aside.rename(committed)
            _sync_folder(self._folder)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        shutil.rmtree(committed / "replaced", ignore_errors=True)
        self._prune()

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
        torch.save(dict(state), checked)  # type: ignore[arg-type]  # it only writes
        _sync(file)
    return checked.crc32


def _is_whole(one: Committed) -> bool:
    crc32 = 0
    try:
        with (one.path / STATE_FILE).open("rb") as file:
            while part := file.read(_PART_BYTES):
                crc32 = zlib.crc32(part, crc32)
    except OSError:
        return False
    return crc32 == one.manifest.crc32


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
