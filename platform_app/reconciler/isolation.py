"""Troubles of one job or deployment stay its own."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from platform_app.errors import StaleWrite, TemporaryError

_log = logging.getLogger(__name__)


@contextmanager
def isolated(subject: str) -> Iterator[None]:
    """Run a block for one job or deployment; what goes wrong in it is logged, and the next pass tries again."""
    try:
        yield
    except StaleWrite:
        _log.info("%s was changed meanwhile: what was decided about it is dropped", subject)
    except TemporaryError as error:
        _log.warning("%s waits for the next pass: %s", subject, error)
    except Exception:
        _log.exception("%s cannot be reconciled", subject)
