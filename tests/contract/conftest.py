"""An empty ledger: SQLite's always, PostgreSQL's too where `SLIPWAY_TEST_POSTGRES_URL` names one."""

import os
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from platform_app.adapters.database import Database, connect, migrate
from platform_app.domain.job import Job
from tests.control_plane import train_spec

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
POSTGRES = os.environ.get("SLIPWAY_TEST_POSTGRES_URL")


@pytest.fixture(params=["sqlite", "postgres"] if POSTGRES else ["sqlite"])
def url(request, tmp_path):
    """Give the URL of an empty database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/ledger.db"
        return
    schema = f"test_{uuid.uuid4().hex}"
    engine = connect(POSTGRES)
    with engine.begin() as connection:
        connection.execute(text(f"CREATE SCHEMA {schema}"))
    yield f"{POSTGRES}?options=-csearch_path%3D{schema}"
    with engine.begin() as connection:
        connection.execute(text(f"DROP SCHEMA {schema} CASCADE"))
    engine.dispose()


@pytest.fixture
def database(url):
    migrate(url)
    database = Database(url)
    yield database
    database.close()


def a_job(number: int = 0, **fields) -> Job:
    values = {"id": f"digits-{number:06}", "spec": train_spec(), "created_at": NOW + timedelta(seconds=number)}
    return Job(**{**values, **fields})
