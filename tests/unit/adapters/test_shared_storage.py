"""Files that several machines see: whole or not there."""

import io
import zipfile
from pathlib import Path

import pytest
from ray._private.runtime_env.packaging import get_top_level_dir_from_compressed_package

from platform_app.adapters.shared_storage import SharedStorage
from platform_app.errors import InvalidRequest, TemporaryError
from platform_app.specs import AttemptReport, AttemptStatus, report_path


@pytest.fixture
def storage(tmp_path):
    return SharedStorage(str(tmp_path))


def zipped(**files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return buffer.getvalue()


def test_a_report_is_none_until_there_is_one(storage, tmp_path):
    assert storage.report("j-1", 1) is None
    path = Path(report_path(str(tmp_path), "j-1", 1))
    path.parent.mkdir()
    path.write_text(AttemptReport(status=AttemptStatus.RUNNING).model_dump_json())
    assert storage.report("j-1", 1) == AttemptReport(status=AttemptStatus.RUNNING)


def test_a_report_that_cannot_be_read_counts_as_none(storage, tmp_path):
    path = Path(report_path(str(tmp_path), "j-1", 1))
    path.parent.mkdir()
    path.write_text('{"status": "run')
    assert storage.report("j-1", 1) is None


def test_a_kept_log_is_given_back_as_it_was(storage):
    assert storage.log("j-1", 1) is None
    storage.keep_log("j-1", 1, "héllo\n")
    storage.keep_log("j-1", 1, "héllo\nagain\n")
    assert storage.log("j-1", 1) == "héllo\nagain\n"


def test_the_same_zip_is_stored_once_under_its_digest(storage, tmp_path):
    body = zipped(**{"train.py": "x = 1"})
    names = {storage.add_package([body[:10], body[10:]], 10_000) for _ in range(2)}
    assert len(names) == 1
    uri = storage.package_uri(names.pop())
    assert uri is not None
    assert Path(uri.removeprefix("file://")).read_bytes() == body
    assert len(list((tmp_path / "packages").iterdir())) == 1


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"not a zip", "not a zip file"),
        (zipped(**{"../../etc/passwd": "x"}), "lead outside"),
        (zipped(**{"/etc/passwd": "x"}), "lead outside"),
        (zipped(**{"ours/mine.py": "x"}), "top-level ours would hide"),
        (zipped(**{"ours.py": "x"}), "top-level ours would hide"),
        (zipped(a="x" * 20_000), "larger than the limit"),
    ],
)
def test_a_refused_package_says_why_and_leaves_nothing(storage, tmp_path, body, words):
    with pytest.raises(InvalidRequest, match=words):
        storage.add_package([body], 10_000, {"ours"})
    assert list((tmp_path / "packages").iterdir()) == []


@pytest.mark.parametrize(
    "others", [(), ("README",), ("other/train.py",), ("__MACOSX/train.py",)], ids=["alone", "file", "folder", "mac"]
)
def test_ray_keeps_the_folders_of_a_package(storage, others):
    body = zipped(**dict.fromkeys(("src/train.py", *others), "x"))
    uri = storage.package_uri(storage.add_package([body], 10_000))
    assert uri is not None
    # What it gives here is what Ray would leave out.
    assert get_top_level_dir_from_compressed_package(uri.removeprefix("file://")) is None


def test_a_name_stands_for_what_was_named_last_and_only_within_its_team(storage):
    assert storage.named_package("research", "_ray_pkg_1.zip") is None
    for package in ("package:1", "package:2"):
        storage.name_package("research", "_ray_pkg_1.zip", package)
    assert storage.named_package("research", "_ray_pkg_1.zip") == "package:2"
    assert storage.named_package("product", "_ray_pkg_1.zip") is None


@pytest.mark.parametrize("name", ["", ".", "..", "../research/x.zip", "/etc/passwd", "a/b.zip"])
def test_a_name_that_is_a_path_is_refused(storage, name):
    with pytest.raises(InvalidRequest, match="not a file name"):
        storage.name_package("product", name, "package:1")
    with pytest.raises(InvalidRequest, match="not a file name"):
        storage.named_package("product", name)


@pytest.mark.parametrize("name", ["package:" + "0" * 64, "package:../../x", "file:///etc/passwd", ""])
def test_a_package_that_is_not_there_has_no_uri(storage, name):
    assert storage.package_uri(name) is None


def test_a_filesystem_that_is_away_is_said_as_such(tmp_path):
    (tmp_path / "file").write_text("")
    storage = SharedStorage(str(tmp_path / "file"))
    for use in (
        lambda: storage.keep_log("j-1", 1, "x"),
        lambda: storage.add_package([zipped(a="x")], 10_000),
    ):
        with pytest.raises(TemporaryError, match="the shared storage cannot be used"):
            use()
