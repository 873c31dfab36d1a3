"""The port `Storage` over the shared filesystem: a folder here, NFS there. What is written appears whole or not."""

import hashlib
import os
import re
import tempfile
import zipfile
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from platform_app.errors import FieldProblem, InvalidRequest, TemporaryError
from platform_app.specs import AttemptReport, Grant, grant_path, report_path, run_dir

_BESIDE = ".slipway"
"""An empty file that is put beside the folders of a zip that holds nothing but folders."""
_PACKAGE = re.compile(r"^package:([0-9a-f]{64})$")


class SharedStorage:
    """Files under one absolute path that every node has mounted."""

    def __init__(self, root: str) -> None:
        self._root = root

    def report(self, job_id: str, attempt: int) -> AttemptReport | None:
        """Read an attempt's report. One that cannot be read counts as none: the driver may be of another version."""
        path = Path(report_path(self._root, job_id, attempt))
        try:
            with _there():
                return AttemptReport.model_validate_json(path.read_bytes()) if path.exists() else None
        except ValidationError:
            return None

    def grant(self, job_id: str, granted: Grant) -> None:
        """Write the grant beside the job's checkpoints, where its driver looks."""
        path, text = Path(grant_path(self._root, job_id)), granted.model_dump_json()
        with _there():
            if not path.exists() or path.read_text(encoding="utf-8") != text:
                _write_whole(path, text)

    def keep_log(self, job_id: str, attempt: int, text: str) -> None:
        """Keep an ended attempt's output beside its checkpoints."""
        with _there():
            _write_whole(self._log_path(job_id, attempt), text)

    def log(self, job_id: str, attempt: int) -> str | None:
        """Read a kept output."""
        path = self._log_path(job_id, attempt)
        with _there():
            return path.read_text(encoding="utf-8") if path.exists() else None

    def add_package(self, chunks: Iterable[bytes], limit_bytes: int, reserved: Collection[str] = ()) -> str:
        """Store a zip under the SHA-256 of its bytes; the same zip twice is stored once."""
        folder = Path(self._root) / "packages"
        digest, size = hashlib.sha256(), 0
        with _there():
            folder.mkdir(parents=True, exist_ok=True)
        with _there(), tempfile.NamedTemporaryFile(dir=folder) as aside:
            for chunk in chunks:
                size += len(chunk)
                if size > limit_bytes:
                    raise _refused(f"the zip is larger than the limit of {limit_bytes / 2**20:.0f} MiB")
                digest.update(chunk)
                aside.write(chunk)
            aside.flush()
            _prepare_zip(aside.name, reserved)
            os.fsync(aside.fileno())
            name = digest.hexdigest()
            # A hard link appears whole at once and outlives the temporary name.
            target = folder / f"{name}.zip"
            if not target.exists():
                os.link(aside.name, target)
        return f"package:{name}"

    def package_uri(self, package: str) -> str | None:
        """Give `file://…`: Ray's agent on each node unpacks it from the shared filesystem."""
        match = _PACKAGE.match(package)
        path = Path(self._root) / "packages" / f"{match[1]}.zip" if match else None
        return path.as_uri() if path and path.exists() else None

    def name_package(self, team: str, name: str, package: str) -> None:
        """Write what the name stands for into a file of that name, in the team's own folder."""
        with _there():
            _write_whole(self._named_path(team, name), package)

    def named_package(self, team: str, name: str) -> str | None:
        """Read what a team's name stands for."""
        path = self._named_path(team, name)
        with _there():
            return path.read_text(encoding="utf-8") if path.exists() else None

    def _named_path(self, team: str, name: str) -> Path:
        path = Path(self._root) / "packages" / team / name
        if path.name != name or path.parent.name != team or name in ("", ".", ".."):
            raise _refused(f"not a file name: {name!r}")
        return path

    def _log_path(self, job_id: str, attempt: int) -> Path:
        return Path(run_dir(self._root, job_id)) / f"attempt-{attempt}.log"


def _write_whole(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # One name for each file: what a crash leaves half written is written over by the next try.
    aside = path.with_name(f"{path.name}.part")
    with aside.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)


@contextmanager
def _there() -> Iterator[None]:
    """Say of a filesystem that is away, full or read-only that it is; what was asked may work later."""
    try:
        yield
    except OSError as error:
        raise TemporaryError(f"the shared storage cannot be used: {error.strerror or error}") from error


def _prepare_zip(path: str, reserved: Collection[str]) -> None:
    """Refuse a zip that cannot be used, and see to it that it is unpacked as it was packed."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile as error:
        raise _refused("the body is not a zip file") from error
    if any(name.startswith("/") or ".." in Path(name).parts for name in names):
        raise _refused("the zip holds paths that lead outside of it")
    if hidden := sorted({*reserved} & {Path(name).parts[0].removesuffix(".py") for name in names}):
        raise _refused(f"top-level {', '.join(hidden)} would hide the platform's own package: rename it")
    if all("/" in name for name in names):
        # Ray drops the only folder of what it fetches by `file://`; a file beside it keeps it.
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(_BESIDE, b"")


def _refused(message: str) -> InvalidRequest:
    return InvalidRequest(FieldProblem("working_dir", message))
