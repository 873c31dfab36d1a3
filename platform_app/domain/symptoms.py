"""What a job's own state, report and output say of it, as signs. Functions of values."""

import re
from collections.abc import Iterator
from datetime import datetime, timedelta

from platform_app.domain.explain import Sign, Source
from platform_app.domain.job import Attempt, Job, JobState
from platform_app.specs import AttemptReport, Progress

_LINES = 200
"""Lines at the end of an output that are looked at."""
_LONGEST_LINE = 400
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_WHO = re.compile(r"^\([^)]*pid=\d+[^)]*\)\s?")
_RAISED = re.compile(r"^[A-Za-z_][\w.]*(Error|Exception|Failed|Interrupt|Exit|Warning)\b")
_SLOW_START = timedelta(minutes=2)
"""Longer than Ray takes to start a driver, or to make the environment of most."""
_SLOW_FIRST_STEP = timedelta(minutes=10)
"""Longer than workers that are there take to import, read data and make their first step, in most cases."""
_SILENT = timedelta(minutes=3)
"""Time without a step after which a run that makes steps counts as silent, unless its steps are longer than that."""


def end_signs(job: Job, output: str) -> Iterator[Sign]:
    """Say why a job's newest attempt ended.

    Args:
        job: whose attempt has ended.
        output: of that attempt, or its end.
    """
    if job.reason:
        yield Sign(Source.END, job.reason, job.message or str(job.reason), "the ledger", job.ended_at)
    if job.state is JobState.FAILED:
        yield from output_signs(output, "ended")


def output_signs(output: str, kind: str) -> Iterator[Sign]:
    """Give the last lines of an output as signs, and of one that has ended the exception that it ended with.

    Args:
        output: all of it, or its end.
        kind: `running` or `ended`.
    """
    lines = [_WHO.sub("", _COLOUR.sub("", line)).rstrip() for line in output.splitlines()[-_LINES:]]
    if kind == "ended" and (raised := last_exception(lines)):
        yield Sign(Source.OUTPUT, "exception", raised, "its output")
    for line in lines:
        if line.strip():
            yield Sign(Source.OUTPUT, kind, line.strip()[:_LONGEST_LINE], "its output")


def last_exception(lines: list[str]) -> str | None:
    """Give the line that says what the last traceback was about; None where there is no traceback."""
    starts = [number for number, line in enumerate(lines) if line.startswith("Traceback (most recent call last)")]
    after = lines[starts[-1] + 1 :] if starts else []
    return next((line[:_LONGEST_LINE] for line in after if _RAISED.match(line)), None)


def driver_signs(job: Job, attempt: Attempt, now: datetime) -> Iterator[Sign]:
    """Say what a job waits for that Ray has and has not begun."""
    spec, waited = job.spec, now - attempt.created_at
    made_ready = [f"pip installs {', '.join(spec.pip)}"] if spec.pip else []
    if spec.working_dir:
        made_ready.append("its working directory is fetched")
    if made_ready:
        slow = waited > _SLOW_START
        told = " and ".join(made_ready) + (f", for {_ago(waited)} now" if slow else "")
        yield Sign(Source.RAY, "SlowRuntimeEnv" if slow else "RuntimeEnv", told, "Ray", attempt.created_at)
    elif waited > _SLOW_START:
        yield Sign(Source.RAY, "Slow", f"it was handed over {_ago(waited)} ago", "Ray", attempt.created_at)
    else:
        yield Sign(Source.RAY, "Starting", f"it was handed over {_ago(waited)} ago", "Ray", attempt.created_at)


def report_signs(job: Job, report: AttemptReport | None, now: datetime) -> Iterator[Sign]:
    """Say what a running job does."""
    if job.state is JobState.STOPPING:
        yield Sign(Source.REPORT, "Stopping", "", "the job")
    elif report is None or report.progress is None:
        waited = now - (job.started_at or now)
        slow = waited > _SLOW_FIRST_STEP
        message = f"no step is done {_ago(waited)} after its driver started"
        yield Sign(Source.REPORT, "Silent" if slow else "NoStep", message, "the job", job.started_at)
    elif is_silent(report.progress, now):
        assert report.progress.at
        ago = _ago(now - report.progress.at)
        yield Sign(
            Source.REPORT, "Silent", f"{_done(report)}, the last of them {ago} ago", "the job", report.progress.at
        )
    else:
        yield Sign(Source.REPORT, "Training", _done(report), "the job", report.progress.at)
    for warning in report.warnings[-1:] if report else ():
        yield Sign(Source.REPORT, "Warning", warning, "the job")


def is_silent(progress: Progress, now: datetime) -> bool:
    """Say whether a run has made no step for longer than its steps take."""
    if progress.at is None or progress.done >= progress.total:
        return False
    pace = (progress.at - progress.began_at) / max(progress.done, 1) if progress.began_at else timedelta()
    return now - progress.at > max(_SILENT, 10 * pace)


def remaining_seconds(job: Job, report: AttemptReport | None, now: datetime) -> float | None:
    """Say how long a running job still takes at its pace; None where it has none yet, or has gone on from elsewhere."""
    progress, attempt = report.progress if report else None, job.attempt
    if progress is None or attempt is None or progress.done < 1 or len(job.attempts) > 1:
        return None
    began, at = progress.began_at or attempt.started_at, progress.at or now
    if began is None or at <= began or is_silent(progress, now):
        return None
    pace = (at - began).total_seconds() / progress.done
    return max(0.0, pace * (progress.total - progress.done) - (now - at).total_seconds())


def _done(report: AttemptReport) -> str:
    assert report.progress
    workers = f" on {report.num_workers} workers" if report.num_workers else ""
    return f"{report.progress.done} of {report.progress.total} {report.progress.unit} are done{workers}"


def _ago(span: timedelta) -> str:
    seconds = round(span.total_seconds())
    return f"{seconds} s" if seconds < 120 else f"{seconds // 60} min" if seconds < 7200 else f"{seconds // 3600} h"
