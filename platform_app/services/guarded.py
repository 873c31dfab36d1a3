"""Read, decide, write: what to do when someone else wrote in between."""

from tenacity import retry, retry_if_exception_type, stop_after_attempt

from platform_app.errors import StaleWrite

again_when_stale = retry(retry=retry_if_exception_type(StaleWrite), stop=stop_after_attempt(10), reraise=True)
"""Decorates a use case that reads, decides and writes: it reads and decides again, as the reconciler writes often."""
