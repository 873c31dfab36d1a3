"""Ledgers of any size, and the HTTP API over each in a process of its own: without Ray, MLflow or a reconciler."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from fastapi import FastAPI
from sqlalchemy import insert

from platform_app import bootstrap
from platform_app.adapters.clock import SystemClock
from platform_app.adapters.database import connect
from platform_app.adapters.tables import attempt_row, attempts, event_row, events, job_row, jobs, tokens
from platform_app.domain.job import Event, Job, Reason
from platform_app.domain.team import Token, token_digest
from platform_app.local.components import answers
from platform_app.settings import Settings
from platform_app.specs import AttemptReport, AttemptStatus, Role, TrainSpec, report_path
from tests.plain_ray import free_port
from tests.running import eventually

TEAM, TOKEN = "research", "a-members-token"
SPEC = TrainSpec(
    name="digits",
    workload="jobs.workloads.digits:make",
    config={"lr": 0.01, "hidden": 64, "dropout": 0.1},
    team=TEAM,
)
_WAITING = 10
"""Of so many jobs one still waits; the others have run and ended, each with its report."""


def app() -> FastAPI:
    """Build the API as the platform does, from the environment."""
    return bootstrap.api(Settings())


class Ledger:
    """A database and a storage folder with so many jobs, all of one team, and a member's token."""

    def __init__(self, folder: Path, size: int) -> None:
        self.folder, self.size = folder, size
        (folder / "storage").mkdir(parents=True)
        self._settings = Settings(
            database_url=f"sqlite:///{folder / 'ledger.db'}",
            storage=str(folder / "storage"),
            tracking_uri="http://127.0.0.1:9",
            token_digests=(token_digest("an-admins-token"),),
        )
        bootstrap.migrate(self._settings)
        self._fill()

    @staticmethod
    def job_id(number: int) -> str:
        """Name one of its jobs, from 0 on: the oldest first."""
        return f"digits-{number:06}"

    @contextmanager
    def served(self) -> Iterator[str]:
        """Serve a copy of it by a process of its own, and give the URL."""
        database, port = self.folder / "served.db", free_port()
        shutil.copy(self.folder / "ledger.db", database)
        environment = {
            **os.environ,
            "SLIPWAY_DATABASE_URL": f"sqlite:///{database}",
            "SLIPWAY_STORAGE": self._settings.storage,
            "SLIPWAY_TRACKING_URI": self._settings.tracking_uri,
            "SLIPWAY_TOKEN_DIGESTS": json.dumps(self._settings.token_digests),
        }
        command = [sys.executable, "-m", "uvicorn", "--factory", f"{__name__}:app", "--port", str(port)]
        with subprocess.Popen([*command, "--log-level", "warning", "--no-access-log"], env=environment) as server:
            try:
                url = f"http://127.0.0.1:{port}"
                eventually(lambda: answers(f"{url}/healthz"), timeout=120)
                yield url
            finally:
                server.terminate()
        for suffix in ("", "-wal", "-shm"):
            database.with_name(f"served.db{suffix}").unlink(missing_ok=True)

    def _fill(self) -> None:
        now, engine = SystemClock().now(), connect(self._settings.database_url)
        token = Token("member", "member", TEAM, Role.MEMBER, token_digest(TOKEN), now)
        all_jobs = [self._job(number) for number in range(self.size)]
        with engine.begin() as connection:
            connection.execute(insert(tokens).values(vars(token)))
            connection.execute(insert(jobs), [job_row(job) for job in all_jobs])
            connection.execute(
                insert(attempts), [attempt_row(job.id, job.attempts[0]) for job in all_jobs if job.attempts]
            )
            told = [Event(now, state, "as it went") for state in ("QUEUED", "PENDING", "RUNNING", "SUCCEEDED")]
            connection.execute(insert(events), [event_row(job.id, event) for job in all_jobs for event in told])
        # One file, to be copied: what is in the log beside it goes into it.
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        engine.dispose()

    def _job(self, number: int) -> Job:
        began = SystemClock().now() - timedelta(minutes=self.size - number)
        job = Job(self.job_id(number), SPEC, began, door_id=self.job_id(number))
        if number % _WAITING == 0:
            return job
        path = Path(report_path(self._settings.storage, job.id, 1))
        path.parent.mkdir()
        path.write_text(AttemptReport(status=AttemptStatus.SUCCEEDED, num_workers=1).model_dump_json())
        return job.admitted(began).running(began).ended(Reason.COMPLETED, began)
