"""Opening a transaction: the boundary at which SQLAlchemy's errors become the platform's."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from platform_app.errors import TemporaryError


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """Run a block in one transaction: all of it is stored, or nothing.

    Raises:
        TemporaryError: the database is away, or locked for longer than a write may wait.
    """
    try:
        with engine.begin() as connection:
            yield connection
    except (OperationalError, InterfaceError, PoolTimeout) as error:
        raise TemporaryError(f"the database does not answer: {getattr(error, 'orig', None) or error}") from error
