"""A working directory as a zip."""

import os
import zipfile

import pytest

from platform_app.client.packaging import packed


def write(root, **files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_the_same_files_give_the_same_bytes_whenever_they_were_written(tmp_path):
    write(tmp_path, **{"train.py": "x = 1", "lib/a.py": "y = 2"})
    first = packed(tmp_path).read()
    os.utime(tmp_path / "train.py", (1, 1))
    assert packed(tmp_path).read() == first


def test_what_the_ignore_files_name_stays_behind(tmp_path):
    write(
        tmp_path,
        **{
            "train.py": "",
            "data/big.bin": "",
            "keep/data.csv": "",
            "secret.env": "",
            ".git/config": "",
            ".venv/lib/x.py": "",
            "lib/__pycache__/a.pyc": "",
            ".gitignore": "data/\n",
            ".rayignore": "*.env\n",
        },
    )
    with zipfile.ZipFile(packed(tmp_path)) as archive:
        assert sorted(archive.namelist()) == [".gitignore", ".rayignore", "keep/data.csv", "train.py"]


def test_a_directory_that_is_not_there_is_said_by_name(tmp_path):
    with pytest.raises(NotADirectoryError, match="nowhere"):
        packed(tmp_path / "nowhere")
