"""What an admin says of teams: how much a team may hold, and who may act for it."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from platform_app.specs.base import Name, Spec


class Overuse(StrEnum):
    """What becomes of a command that takes more GPUs than it declared."""

    WARN = "warn"
    """Its events say so."""
    STOP = "stop"
    """It is stopped, and fails with the reason."""


GpuKind = Annotated[str, StringConstraints(pattern=r"^(\*|[\w.-]+(/(spot|on-demand))?)$", max_length=64)]
"""`*` (any), an accelerator type (`A10G`), or one on a market (`A10G/spot`)."""


class Role(StrEnum):
    """What a token may do; each role may do what those before it may."""

    VIEWER = "viewer"
    """Looks at what is its team's."""
    MEMBER = "member"
    """Submits and stops its team's jobs, deploys and promotes."""
    ADMIN = "admin"
    """Sees and does everything, for every team, and keeps teams and tokens."""

    def covers(self, needed: "Role") -> bool:
        """Say whether this role may do what another may."""
        return list(Role).index(self) >= list(Role).index(needed)


class Quota(Spec):
    """The most that a team's running jobs may hold together; what is not named has no bound.

    Every training worker that runs is charged with what it asked for, so an elastic run is charged for what it is on.
    """

    gpus: dict[GpuKind, Annotated[float, Field(ge=0)]] = {}
    """GPUs by kind. One GPU counts against each kind that it is of: `A10G/spot`, `A10G` and `*`."""
    cpus: float | None = Field(ge=0, default=None)
    jobs: int | None = Field(ge=0, default=None)
    """Jobs that hold workers at one time."""
    borrow: bool = False
    """Whether its jobs may also have what other teams leave idle. They give it back, by a checkpoint and the queue, as
    soon as a team needs it within its own quota."""
    overuse: Overuse = Overuse.WARN
    """What becomes of the team's commands that take more GPUs than they declared, and than are charged."""


class TokenSpec(Spec):
    """A token that an admin has made for a team."""

    name: Name
    """What it is for, such as `ci` or `ada-laptop`."""
    team: Name
    role: Role = Role.MEMBER
    expires_in_days: float | None = Field(gt=0, le=3660, default=90)
    """None: it never expires."""
