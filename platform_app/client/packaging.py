"""A working directory as a zip: the same files give the same bytes, so that what was uploaded once is known."""

import io
import subprocess
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO

import pathspec

_NEVER = (".git/", ".venv/", "venv/", "__pycache__/", ".slipway/", "*.pyc", ".DS_Store")
_IGNORE_FILES = (".gitignore", ".rayignore")
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip can hold; file times would change the digest without changing the content."""


def packed(directory: Path | None, added: Mapping[str, bytes] | None = None) -> IO[bytes]:
    """Zip a directory, leaving out what its `.gitignore` and `.rayignore` name, and give the open file at its start.

    Args:
        directory: which; None for one that holds only what is added.
        added: files that go along, by their path in the zip.

    Raises:
        NotADirectoryError: there is no such directory.
    """
    if directory and not directory.is_dir():
        raise NotADirectoryError(f"working directory {directory} is not a directory")
    # The file is the caller's to close; beyond 16 MiB it lives on disk.
    file: IO[bytes] = SpooledTemporaryFile(max_size=16 * 2**20)  # noqa: SIM115
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        if directory:
            for path in sorted(_files(directory)):
                _add(archive, path.relative_to(directory).as_posix(), path.read_bytes(), path.stat().st_mode)
        for name, content in sorted((added or {}).items()):
            _add(archive, name, content, 0o644)
    file.seek(0, io.SEEK_SET)
    return file


def _add(archive: zipfile.ZipFile, name: str, content: bytes, mode: int) -> None:
    info = zipfile.ZipInfo(name, _EPOCH)
    info.external_attr = (mode & 0o777) << 16
    info.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(info, content)


def _files(directory: Path) -> Iterator[Path]:
    patterns = list(_NEVER)
    for name in _IGNORE_FILES:
        if (directory / name).is_file():
            patterns += (directory / name).read_text().splitlines()
    ignored = pathspec.GitIgnoreSpec.from_lines(patterns)
    for found in ignored.match_tree_files(directory, negate=True, follow_links=False):
        path = directory / found
        if path.is_file():
            yield path


def git_commit(directory: Path) -> str | None:
    """Give the commit that a directory is checked out at, `-dirty` where it was changed since; None without git."""
    command = ["git", "-C", str(directory), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None
