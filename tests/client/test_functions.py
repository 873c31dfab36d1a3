"""Functions of a notebook that go along by value."""

import importlib.util
import sys
import threading
import zipfile

import pytest

from jobs.workloads import digits
from platform_app.client.functions import MODULE, carried
from platform_app.client.packaging import packed
from platform_app.errors import InvalidRequest


def in_a_notebook(source: str, **known):
    """Define functions as a notebook does: in a module that nobody can import."""
    namespace = {"__name__": "__main__", **known}
    exec(source, namespace)
    return namespace


def on_a_worker(files, folder):
    """Import what went along as a worker does, from its working directory."""
    for name, content in files.items():
        (folder / name).write_bytes(content)
    spec = importlib.util.spec_from_file_location(MODULE, folder / f"{MODULE}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_function_of_a_notebook_goes_with_all_that_it_uses(tmp_path):
    cells = in_a_notebook(
        "FACTOR = 3\ndef twice(x):\n    return 2 * x\ndef make(config):\n    return FACTOR * twice(config['x'])\n"
    )
    sent = carried({"name": "a", "workload": cells["make"]}, has_working_dir=False)
    assert sent.fields == {"name": "a", "workload": f"{MODULE}:workload"}
    cells.clear()
    assert on_a_worker(sent.files, tmp_path).workload({"x": 7}) == 42


def test_a_function_inside_another_goes_with_what_it_closes_over(tmp_path):
    def outer(factor):
        return lambda config: factor * config["x"]

    sent = carried({"train_loop": outer(5)}, has_working_dir=False)
    assert on_a_worker(sent.files, tmp_path).train_loop({"x": 2}) == 10


def test_a_function_that_can_be_imported_goes_by_its_name():
    sent = carried({"workload": digits.make}, has_working_dir=False)
    assert (sent.fields, sent.files) == ({"workload": "jobs.workloads.digits:make"}, {})


def test_names_stay_as_they_are():
    assert carried({"workload": "a:b"}, has_working_dir=False).files == {}


def test_a_function_of_a_file_needs_its_directory(tmp_path, monkeypatch):
    (tmp_path / "my_own_code.py").write_text("def make(config):\n    return 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    import my_own_code

    with pytest.raises(InvalidRequest, match=r"workload: my_own_code is a file of yours .* by working_dir"):
        carried({"workload": my_own_code.make}, has_working_dir=False)
    assert carried({"workload": my_own_code.make}, has_working_dir=True).fields["workload"] == "my_own_code:make"


def test_what_cannot_be_pickled_is_named():
    cells = in_a_notebook("def make(config):\n    with lock:\n        return 1\n", lock=threading.Lock())
    with pytest.raises(InvalidRequest, match=r"make cannot go along by value.*lock.* in 'lock'. Make it inside"):
        carried({"workload": cells["make"]}, has_working_dir=False)


def test_a_tensor_on_a_gpu_is_refused_with_its_place():
    on_gpu = type("Tensor", (), {"__module__": "torch", "is_cuda": True, "device": "cuda:0"})()
    cells = in_a_notebook("def make(config):\n    return weights['w']\n", weights={"w": on_gpu})
    with pytest.raises(InvalidRequest, match=r"a Tensor on cuda:0 in 'weights'"):
        carried({"workload": cells["make"]}, has_working_dir=False)


def test_another_python_is_said_before_a_pickle_of_it_fails(tmp_path):
    files = dict(carried({"workload": lambda config: 1}, has_working_dir=False).files)
    ours = str((sys.version_info[0], sys.version_info[1]))
    files[f"{MODULE}.py"] = files[f"{MODULE}.py"].replace(ours.encode(), b"(3, 1)")
    with pytest.raises(ImportError, match=r"the notebook runs Python 3\.1 and this worker"):
        on_a_worker(files, tmp_path)


def test_functions_are_uploaded_beside_a_working_directory(platform, tmp_path, plane):
    code = tmp_path / "code"
    code.mkdir()
    (code / "mine.py").write_text("x = 1\n")
    job = platform.submit({"name": "a", "workload": lambda config: None}, working_dir=code)
    assert job.spec.workload == f"{MODULE}:workload"
    path = plane.storage.package_uri(job.spec.working_dir).removeprefix("file://")
    with zipfile.ZipFile(path) as archive:
        assert sorted(archive.namelist()) == ["mine.py", f"{MODULE}.pkl", f"{MODULE}.py"]


def test_a_zip_of_nothing_but_what_is_added():
    with zipfile.ZipFile(packed(None, {"a.py": b"x = 1\n"})) as archive:
        assert archive.read("a.py") == b"x = 1\n"
