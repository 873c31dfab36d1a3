"""MLflow: the one run of a job, continued by every attempt, and what is said about it.

Importing this module does not import MLflow, which takes longer than many a training step: who needs it does.
"""

import logging
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import tenacity

from jobs.attempt import Attempt
from jobs.failure import JobFailed, describe
from jobs.journal import JournalReader
from jobs.metrics import own_metrics
from jobs.outbox import Outbox, Run
from jobs.pulse import Every
from platform_app.specs import FailureCause, digest

logger = logging.getLogger(__name__)

PATIENCE_SECONDS = 180.0
"""How long a driver waits for MLflow."""

T = TypeVar("T")


def connect(tracking_uri: str) -> Any:
    """Give an `MlflowClient` that says soon when MLflow is away; waiting is for those who call it."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # two lines for every run that ends
    # A driver's logs are read by people who did not ask for a database's migrations.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri)


def is_away(error: BaseException) -> bool:
    """Say whether trying again can help: MLflow does not answer or is overloaded, rather than refuses."""
    from mlflow.exceptions import MlflowException

    if isinstance(error, MlflowException):
        return error.get_http_status_code() >= 500 or error.get_http_status_code() == 429
    # A file that is not there, or may not be read, is none of MLflow's, and waiting does not bring it.
    return isinstance(error, OSError) and not isinstance(error, FileNotFoundError | PermissionError)


def patiently(what: str, act: Callable[[], T], patience_seconds: float = PATIENCE_SECONDS) -> T:
    """Do something with MLflow, again and again while it is away.

    Raises:
        JobFailed: `tracking-unavailable`: it was away for all of the time, or refuses.
    """
    from mlflow.exceptions import MlflowException

    def tell(retry: tenacity.RetryCallState) -> None:
        error = retry.outcome.exception() if retry.outcome else None
        print(f"{what}: waiting for MLflow ({str(error).splitlines()[0]:.200})", flush=True)  # noqa: T201

    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception(is_away),
        wait=tenacity.wait_exponential(multiplier=0.5, max=10),
        stop=tenacity.stop_after_delay(patience_seconds),
        before_sleep=tell,
        reraise=True,
    )
    try:
        return retrying(act)
    except (MlflowException, OSError) as error:
        raise JobFailed(FailureCause.TRACKING_UNAVAILABLE, f"{what}: MLflow: {describe(error)}") from error


def start_run(attempt: Attempt) -> str:
    """Start the job's run, or go on with the one that an earlier attempt started.

    Returns:
        The run's id.

    Raises:
        JobFailed: `tracking-unavailable`.
    """
    return patiently(
        f"starting the run of {attempt.job_id}", lambda: _start_run(connect(attempt.tracking_uri), attempt)
    )


def end_run(attempt: Attempt, status: str, patience_seconds: float) -> None:
    """Give the run its last status: FINISHED, FAILED or KILLED. MLflow's absence is told and does not raise."""
    try:
        client = connect(attempt.tracking_uri)
        patiently("ending the run", lambda: client.set_terminated(attempt.run_id, status), patience_seconds)
    except JobFailed as failure:
        logger.warning("%s", failure)


def log_result(
    attempt: Attempt,
    result: Mapping[str, Any],
    params: Mapping[str, Any] | None = None,
    tags: Mapping[str, str] | None = None,
) -> None:
    """Make a result the run's last word: its metrics are then those of what the run gave, not those of its last epoch.

    Args:
        attempt: whose run it is.
        result: as `jobs.loop` reported it.
        params: what belongs to it, beside the run's own params.
        tags: likewise.

    Raises:
        JobFailed: `tracking-unavailable`.
    """
    from mlflow.entities import Metric, Param, RunTag

    client, now, last_step = connect(attempt.tracking_uri), int(time.time() * 1000), int(result["total_steps"])
    metrics = [Metric(name, value, now, last_step) for name, value in own_metrics(result).items()]
    params_ = [Param(name, str(value)) for name, value in (params or {}).items()]
    tags_ = [RunTag(name, value) for name, value in (tags or {}).items()]
    patiently("logging the result", lambda: client.log_batch(attempt.run_id, metrics, params_, tags_))


@contextmanager
def sent_metrics(attempt: Attempt) -> Iterator[None]:
    """Send to the attempt's run what its workers have told, from another thread, while the body runs."""
    outbox, run = Outbox(lambda: connect(attempt.tracking_uri), is_away), Run(attempt.run_id)
    journal = JournalReader(attempt.run_dir, lambda metrics, step, at: outbox.log(run, metrics, step, at))
    # Ray kills a driver 3 s after it asked it to stop; whoever takes over sends what is left.
    patience_seconds = 1.0
    try:
        with Every(journal.read, name="metrics"):
            yield
        patience_seconds = 120.0
    except Exception:
        patience_seconds = 120.0
        raise
    finally:
        lost = outbox.close(patience_seconds)
    if not lost:
        journal.forget()


def _start_run(client: Any, attempt: Attempt) -> str:
    experiment_id = _experiment(client, attempt)
    found = client.search_runs([experiment_id], f"tags.`slipway.job_id` = '{attempt.job_id}'", max_results=1)
    if found:
        run_id: str = found[0].info.run_id
        client.update_run(run_id, status="RUNNING")
    else:
        run_id = client.create_run(experiment_id, run_name=attempt.job_id).info.run_id
    _describe_run(client, run_id, attempt)
    return run_id


def _experiment(client: Any, attempt: Attempt) -> str:
    from mlflow.exceptions import MlflowException

    name = attempt.spec.experiment
    if known := client.get_experiment_by_name(name):
        return str(known.experiment_id)
    # A server knows where artifacts go; a database file does not, and would take the working directory.
    artifacts = None if attempt.tracking_uri.startswith("http") else f"file://{attempt.storage}/artifacts"
    try:
        return str(client.create_experiment(name, artifact_location=artifacts))
    except MlflowException:
        if known := client.get_experiment_by_name(name):  # someone else was first
            return str(known.experiment_id)
        raise


def _describe_run(client: Any, run_id: str, attempt: Attempt) -> None:
    from mlflow.entities import Param, RunTag

    spec = attempt.spec
    tags = {
        "slipway.job_id": attempt.job_id,
        "slipway.attempt": str(attempt.number),
        "slipway.spec_digest": digest(spec),
        "slipway.kind": spec.kind,
        **({"mlflow.source.git.commit": commit} if (commit := spec.git_commit or _git_commit()) else {}),
    }
    params = {
        **spec.config,
        "workload": spec.workload or getattr(spec, "train_loop", None),
        "epochs": spec.epochs,
        "batch_size": spec.batch_size,
        "precision": spec.precision.value,
        "seed": spec.seed,
        "num_workers": spec.resources.num_workers,
    }
    client.log_batch(
        run_id,
        params=[Param(name, str(value)) for name, value in params.items()],
        tags=[RunTag(name, value) for name, value in tags.items()],
    )


def _git_commit() -> str | None:
    """Give the commit of the working directory; None when it is not a checkout."""
    try:
        answer = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None
