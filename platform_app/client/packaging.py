"""A working directory as a zip: the same files give the same bytes, so that what was uploaded once is known."""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO

import pathspec

_NEVER = (".git/", ".venv/", "venv/", "__pycache__/", ".slipway/", "*.pyc", ".DS_Store")
_IGNORE_FILES = (".gitignore", ".rayignore")
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip can hold; file times would change the digest without changing the content."""


def packed(directory: Path) -> IO[bytes]:
    """Zip a directory, leaving out what its `.gitignore` and `.rayignore` name, and give the open file at its start.

    Raises:
        NotADirectoryError: there is no such directory.
    """
    if not directory.is_dir():
        raise NotADirectoryError(f"working directory {directory} is not a directory")
    # The file is the caller's to close; beyond 16 MiB it lives on disk.
    file: IO[bytes] = SpooledTemporaryFile(max_size=16 * 2**20)  # noqa: SIM115
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(_files(directory)):
            info = zipfile.ZipInfo(path.relative_to(directory).as_posix(), _EPOCH)
            info.external_attr = (path.stat().st_mode & 0o777) << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, path.read_bytes())
    file.seek(0, io.SEEK_SET)
    return file


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
