"""Files that every node has."""

from collections.abc import Collection, Iterable
from typing import Protocol

from platform_app.specs import AttemptReport, Grant


class Storage(Protocol):
    """The shared filesystem: reports, ended attempts' logs and uploaded working directories."""

    def report(self, job_id: str, attempt: int) -> AttemptReport | None:
        """Read an attempt's own account of itself; None before it has written any."""
        ...

    def grant(self, job_id: str, granted: Grant) -> None:
        """Tell a job's running attempt what it may have; the same again changes nothing."""
        ...

    def keep_log(self, job_id: str, attempt: int, text: str) -> None:
        """Keep the output of an ended attempt, whatever becomes of the cluster that ran it."""
        ...

    def log(self, job_id: str, attempt: int) -> str | None:
        """Read a kept output; None when there is none."""
        ...

    def add_package(self, chunks: Iterable[bytes], limit_bytes: int, reserved: Collection[str] = ()) -> str:
        """Store a working directory's zip and give its name, `package:{sha256}`.

        Args:
            chunks: the zip as it arrives.
            limit_bytes: its largest size.
            reserved: names that nothing at its top level may have.

        Raises:
            InvalidRequest: it is too large, no zip, or holds what it may not.
        """
        ...

    def name_package(self, team: str, name: str, package: str) -> None:
        """Let a package have a name within a team, in the place of what had it. Raises InvalidRequest for a path."""
        ...

    def named_package(self, team: str, name: str) -> str | None:
        """Give the package that has a name within a team; None when none has. Raises InvalidRequest for a path."""
        ...

    def package_uri(self, package: str) -> str | None:
        """Give the URI by which Ray's workers fetch a package; None when there is no such package."""
        ...
