"""The attempt's account of itself."""

import math
import threading

from jobs.failure import JobFailed
from jobs.report import ReportFile
from platform_app.specs import AttemptStatus, FailureCause


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def test_there_is_no_report_before_the_first_write(tmp_path):
    assert ReportFile(tmp_path / "job" / "attempt-1.json").read() is None


def test_each_write_keeps_what_was_told_before(tmp_path):
    report = ReportFile(tmp_path / "job" / "attempt-1.json")
    report.running("run-1")
    report.progress(10, 10, "steps", {"loss": 0.5})
    report.succeeded(model_version=3)
    read = report.read()
    assert (read.status, read.mlflow_run_id, read.model_version) == (AttemptStatus.SUCCEEDED, "run-1", 3)
    assert read.progress.metrics == {"loss": 0.5}


def test_a_failure_tells_its_cause_and_message(tmp_path):
    report = ReportFile(tmp_path / "attempt-1.json")
    report.failed(JobFailed(FailureCause.IMPORT_FAILED, "no module"))
    assert (report.read().cause, report.read().message) == (FailureCause.IMPORT_FAILED, "no module")


def test_progress_is_written_at_most_once_each_interval_and_always_at_the_end(tmp_path):
    clock = Clock()
    report = ReportFile(tmp_path / "attempt-1.json", clock, min_interval_seconds=1.0)
    report.progress(1, 4, "steps", {})
    report.progress(2, 4, "steps", {})
    assert report.read().progress.done == 1
    clock.now = 1.0
    report.progress(3, 4, "steps", {})
    assert report.read().progress.done == 3
    report.progress(4, 4, "steps", {})
    assert report.read().progress.done == 4


def test_numbers_that_json_lacks_are_left_out(tmp_path):
    report = ReportFile(tmp_path / "attempt-1.json")
    report.progress(1, 1, "steps", {"loss": math.nan, "error": math.inf, "accuracy": 0.5})
    assert report.read().progress.metrics == {"accuracy": 0.5}


def test_a_reader_never_sees_half_a_report(tmp_path):
    report = ReportFile(tmp_path / "attempt-1.json", min_interval_seconds=0)
    report.running("run-1")
    done = threading.Event()

    def write():
        for step in range(200):
            report.progress(step, 200, "steps", {f"metric-{i}": 0.5 for i in range(step)})
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not done.is_set():
        assert report.read().mlflow_run_id == "run-1"
    writer.join()
    assert [path.name for path in tmp_path.iterdir()] == ["attempt-1.json"]
