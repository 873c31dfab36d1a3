"""The port `Storage` over the shared filesystem: a folder here, NFS there. What is written appears whole or not."""

import hashlib
import os
import re
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

from pydantic import ValidationError

from platform_app.errors import FieldProblem, InvalidRequest
from platform_app.specs import AttemptReport, report_path, run_dir

_OURS = frozenset({"platform_app", "jobs", "serve"})
_PACKAGE = re.compile(r"^package:([0-9a-f]{64})$")


class SharedStorage:
    """Files under one absolute path that every node has mounted."""

    def __init__(self, root: str) -> None:
        self._root = root

    def report(self, job_id: str, attempt: int) -> AttemptReport | None:
        """Read an attempt's report. One that cannot be read counts as none: the driver may be of another version."""
        try:
            return AttemptReport.model_validate_json(Path(report_path(self._root, job_id, attempt)).read_bytes())
        except (FileNotFoundError, ValidationError):
            return None

    def keep_log(self, job_id: str, attempt: int, text: str) -> None:
        """Keep an ended attempt's output beside its checkpoints."""
        path = self._log_path(job_id, attempt)
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as aside:
            aside.write(text)
            aside.flush()
            os.fsync(aside.fileno())
        os.replace(aside.name, path)

    def log(self, job_id: str, attempt: int) -> str | None:
        """Read a kept output."""
        try:
            return self._log_path(job_id, attempt).read_text(encoding="utf-8")
        except FileNotFoundError:
            return None

    def add_package(self, chunks: Iterable[bytes], limit_bytes: int) -> str:
        """Store a zip under the SHA-256 of its bytes; the same zip twice is stored once."""
        folder = Path(self._root) / "packages"
        folder.mkdir(parents=True, exist_ok=True)
        digest, size = hashlib.sha256(), 0
        with tempfile.NamedTemporaryFile(dir=folder) as aside:
            for chunk in chunks:
                size += len(chunk)
                if size > limit_bytes:
                    raise _refused(f"the zip is larger than the limit of {limit_bytes / 2**20:.0f} MiB")
                digest.update(chunk)
                aside.write(chunk)
            aside.flush()
            _check_zip(aside.name)
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

    def _log_path(self, job_id: str, attempt: int) -> Path:
        return Path(run_dir(self._root, job_id)) / f"attempt-{attempt}.log"


def _check_zip(path: str) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile as error:
        raise _refused("the body is not a zip file") from error
    if any(name.startswith("/") or ".." in Path(name).parts for name in names):
        raise _refused("the zip holds paths that lead outside of it")
    if hidden := sorted(_OURS & {Path(name).parts[0].removesuffix(".py") for name in names}):
        raise _refused(f"top-level {', '.join(hidden)} would hide the platform's own package: rename it")


def _refused(message: str) -> InvalidRequest:
    return InvalidRequest(FieldProblem("working_dir", message))
