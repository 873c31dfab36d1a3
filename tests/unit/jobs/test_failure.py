"""What people are told about failures."""

import pickle

import pytest

from jobs.failure import JobFailed, describe, describe_traceback
from jobs.workload import load_object, load_workload
from platform_app.specs import FailureCause

TRACEBACK = """worker failed:
Traceback (most recent call last):
  File "/venv/lib/python3.11/site-packages/ray/train/util.py", line 9, in run
    return fn()
  File "/home/me/project/my_model.py", line 12, in make
    raise ValueError("too big")
  File "/venv/lib/python3.11/site-packages/torch/nn.py", line 3, in check
    raise ValueError("too big")
ValueError: too big
"""


def test_a_traceback_is_told_in_one_line_with_the_place_in_the_users_code():
    assert describe_traceback(TRACEBACK) == "ValueError: too big (my_model.py:12 in make)"


def test_of_chained_exceptions_the_last_is_told():
    text = (
        'Traceback (most recent call last):\n  File "/a.py", line 1, in f\nKeyError: 1\n\nDuring handling:\n\n'
        + TRACEBACK
    )
    assert describe_traceback(text).startswith("ValueError: too big")


@pytest.mark.parametrize(("text", "line"), [("", "it gave no reason"), ("The actor died.\nmore", "The actor died.")])
def test_what_is_no_traceback_gives_its_first_line(text, line):
    assert describe_traceback(text) == line


def test_an_exception_is_told_by_its_type_and_message():
    assert describe(ValueError("too big")) == "ValueError: too big"


def test_a_failure_survives_the_way_between_processes():
    failure = pickle.loads(pickle.dumps(JobFailed(FailureCause.IMPORT_FAILED, "no module")))
    assert (failure.cause, str(failure)) == (FailureCause.IMPORT_FAILED, "no module")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (
            "no_such_module:make",
            "workload no_such_module:make cannot be imported: ModuleNotFoundError: No module named",
        ),
        ("tests.unit.jobs.tiny:nothing", "has no attribute 'nothing'"),
        ("tests.unit.jobs.tiny:__name__", "is not a function but a str"),
    ],
)
def test_code_that_cannot_be_imported_is_told_by_its_path(path, message):
    with pytest.raises(JobFailed, match=message) as failed:
        load_object(path, "workload")
    assert failed.value.cause is FailureCause.IMPORT_FAILED


def test_a_function_that_makes_no_workload_is_told_so():
    with pytest.raises(JobFailed, match=r"must return a jobs\.workload\.Workload; it returned a dict"):
        load_workload("tests.unit.jobs.tiny:not_a_workload", {})
