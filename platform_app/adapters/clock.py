"""The port `Clock` over the machine's own."""

from datetime import UTC, datetime


class SystemClock:
    """The time of this machine, in UTC."""

    def now(self) -> datetime:
        """Give the present moment."""
        return datetime.now(UTC)
