"""A driver's life: read a spec, continue the job's MLflow run, do the work, and account for it whatever happens.

It runs on the head node, so it never imports user code: it passes the names of things, and workers import them.
"""

import argparse
import os
import signal
import sys
import traceback
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

from jobs.attempt import Attempt, BadInput, S, attempt_from, load_spec
from jobs.failure import JobFailed, describe
from jobs.report import ReportFile

_RAY_DEFAULTS = {
    # A report waits until Ray looks for one, each 2 s by default.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    # The default of 60 s is less than a GPU node takes to boot.
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "900",
    # Workers stay in the working directory: users' relative paths go on to work, and their modules are found there.
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    # What a worker prints is in the driver's log already; the patch would show it there twice.
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    # Ctrl-C ends a sweep as it ends any program, rather than going on with the trials that are done.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    # It warns of writing the state of a sweep whenever a checkpoint is replaced, which is what resuming needs.
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}


def drive(kind: type[S], work: Callable[[Attempt], int | None], description: str) -> NoReturn:
    """Run one attempt as this process: exit code 0 when it succeeded, 1 when it failed, 2 for input that is wrong.

    Args:
        kind: of spec that is expected.
        work: does it on a cluster that is connected, and gives the model version that it made, if any.
        description: for `--help`.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--spec", required=True, help="YAML or JSON file, or JSON that begins with {")
    for name, value in _RAY_DEFAULTS.items():
        os.environ.setdefault(name, value)
    try:
        attempt = attempt_from(load_spec(parser.parse_args().spec, kind), os.environ)
    except BadInput as error:
        print(error, file=sys.stderr)  # noqa: T201
        sys.exit(2)
    sys.exit(_account_for(attempt, work))


def _account_for(attempt: Attempt, work: Callable[[Attempt], int | None]) -> int:
    from jobs import placement, tracking

    report = ReportFile(attempt.report_path)
    report.running()
    status = "KILLED"
    try:
        attempt = attempt.model_copy(update={"run_id": tracking.start_run(attempt)})
        report.running(attempt.run_id)
        attempt = attempt.model_copy(update={"spec": placement.connect(attempt.spec)})
        signal.signal(signal.SIGTERM, _stop)
        version = work(attempt)
        status = "FINISHED"
    except JobFailed as failure:
        status = "FAILED"
        report.failed(failure)
        print(f"{attempt.job_id} failed: {failure}", file=sys.stderr)  # noqa: T201
        return 1
    except (SystemExit, KeyboardInterrupt):
        print(f"{attempt.job_id} was stopped", file=sys.stderr)  # noqa: T201
        return 128 + signal.SIGTERM
    except Exception as error:
        status = "FAILED"
        report.failed(JobFailed(None, f"the driver failed: {describe(error)}"))
        traceback.print_exc()
        return 1
    finally:
        if attempt.run_id:
            # Ray kills a driver 3 s after it asked it to stop.
            tracking.end_run(attempt, status, patience_seconds=1 if status == "KILLED" else 60)
    report.succeeded(version)
    made = f", made {attempt.spec.registered_model} version {version}" if version else ""
    print(f"{attempt.job_id} succeeded{made}")  # noqa: T201
    return 0


def _stop(signum: int, _frame: FrameType | None) -> None:
    sys.exit(128 + signum)
