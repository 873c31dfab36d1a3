"""The ledger in SQL: SQLite on a laptop, PostgreSQL by a URL; its schema, and the lease that it holds.

Every write of a job or deployment is guarded by the version that was read (compare and swap), so two writers never
overwrite each other. A database that is away or locked is a `TemporaryError`.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, event, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from platform_app.adapters.deployment_store import SqlDeploymentStore
from platform_app.adapters.job_store import SqlJobStore
from platform_app.adapters.tables import leases
from platform_app.adapters.team_store import SqlTeamStore
from platform_app.adapters.transactions import transaction
from platform_app.errors import TemporaryError

_RECONCILER = "reconciler"
_LONGEST_LEASE = timedelta(minutes=1)
"""A lease that runs out later was given before the clock was set back, and counts for nothing."""
_LOCK = {
    # Whoever comes second waits here until the first has migrated, and then finds nothing to do.
    "sqlite": "BEGIN IMMEDIATE",
    "postgresql": "SELECT pg_advisory_xact_lock(7110217)",
}


class SqlLease:
    """`Lease` in SQL: one row, taken over only when it has expired, or runs out later than any lease that is given."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def acquire(self, holder: str, now: datetime, duration: timedelta) -> bool:
        """Take or renew the lease; False while someone else holds it unexpired."""
        lease = {"holder": holder, "expires_at": now + duration}
        expires_at = leases.c.expires_at
        free = or_(leases.c.holder == holder, expires_at <= now, expires_at > now + _LONGEST_LEASE)
        try:
            with transaction(self._engine) as connection:
                taken = connection.execute(update(leases).where(leases.c.name == _RECONCILER, free).values(lease))
                if taken.rowcount == 1:
                    return True
                if connection.scalar(select(leases.c.holder).where(leases.c.name == _RECONCILER)):
                    return False
                connection.execute(insert(leases).values(name=_RECONCILER, **lease))
        except IntegrityError:
            return False  # Someone else was the first ever, in this moment.
        return True


class Database:
    """One database, and the ports that it implements."""

    def __init__(self, url: str) -> None:
        """Connect lazily.

        Args:
            url: SQLAlchemy's, such as `sqlite:////var/slipway/platform.db` or `postgresql+psycopg://host/slipway`.
        """
        self._engine = connect(url)
        self.jobs = SqlJobStore(self._engine)
        self.deployments = SqlDeploymentStore(self._engine)
        self.teams = SqlTeamStore(self._engine)
        self.lease = SqlLease(self._engine)

    def missing(self, now: datetime) -> Sequence[str]:
        """Say what keeps the platform from being ready, a sentence each; nothing when it is."""
        try:
            with transaction(self._engine) as connection:
                revision = MigrationContext.configure(connection).get_current_revision()
                if revision != self._head:
                    return (f"the database is at revision {revision}; this release needs {self._head}",)
                expires_at = connection.scalar(select(leases.c.expires_at).where(leases.c.name == _RECONCILER))
        except TemporaryError as error:
            return (str(error),)
        return () if expires_at and expires_at > now else ("no reconciler is at work: jobs would only queue",)

    def close(self) -> None:
        """Give back all connections."""
        self._engine.dispose()

    @cached_property
    def _head(self) -> str | None:
        return ScriptDirectory.from_config(_alembic()).get_current_head()


def connect(url: str) -> Engine:
    """Make an engine; the one place that knows what SQLite needs to be told."""
    engine = create_engine(url, pool_pre_ping=True)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _sqlite_settings)
    return engine


def migrate(url: str) -> None:
    """Bring a database to the newest schema; harmless when it is there, or when two processes do it at once.

    Raises:
        TemporaryError: the database does not answer.
    """
    engine = connect(url)
    if engine.dialect.name == "sqlite":
        # A step that alters a table replaces it; those that point at it must not be asked meanwhile.
        event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA foreign_keys = OFF"))
    try:
        with transaction(engine) as connection:
            connection.exec_driver_sql(_LOCK[engine.dialect.name])
            config = _alembic()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    finally:
        engine.dispose()


def _alembic() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _sqlite_settings(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    # First, so that the other settings wait too: milliseconds to wait for another writer.
    cursor.execute("PRAGMA busy_timeout = 10000")
    cursor.execute("PRAGMA journal_mode = WAL")
    # Synced at every commit: what a user was told outlives a power cut too.
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()
