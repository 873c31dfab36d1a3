"""Who works with the platform: teams, their tokens, and who is asking.

The database owns teams, quotas and tokens. The catalog's `teams` say only which of them have a namespace on Kubernetes,
with Kubernetes' own bounds on what runs there (`specs.catalog.TeamNamespace`); a namespace whose team the database does
not know yet brings it in, without bounds in the queue.
"""

import hashlib
from dataclasses import dataclass, field
from datetime import datetime

from platform_app.specs import Quota, Role

DEFAULT_TEAM = "default"
"""Whose jobs are that name no team, and whose the tokens of the settings are. It is always there."""


def token_digest(token: str) -> str:
    """Name a token by its SHA-256 (hexadecimal), which is all of it that is kept.

    Tokens are 256 random bits, so that no salt and no slow hash is needed: nobody can guess one, nor look one up.
    """
    return hashlib.sha256(token.encode()).hexdigest()


@dataclass(frozen=True)
class Principal:
    """Who is asking."""

    team: str
    role: Role
    token: str
    """Id of the token, for the audit log."""

    @property
    def is_admin(self) -> bool:
        """Whether it sees all teams and keeps them."""
        return self.role is Role.ADMIN

    def sees(self, team: str) -> bool:
        """Say whether what is that team's may be seen."""
        return self.is_admin or team == self.team

    def __str__(self) -> str:
        """Name it for a person: team and token."""
        return f"{self.team}/{self.token}"


NOBODY = Principal("", Role.VIEWER, "")
"""Sees nothing: what asks before anyone is known."""


@dataclass(frozen=True)
class Team:
    """A tenant."""

    name: str
    created_at: datetime
    quota: Quota = field(default_factory=Quota)
    used: float = 0.0
    """What its jobs had used lately at `used_at`, in US dollars (`domain.order.HALF_LIFE`)."""
    used_at: datetime | None = None


@dataclass(frozen=True)
class Token:
    """What is kept of a token: everything but itself."""

    id: str
    """`{name}-{6 characters}`."""
    name: str
    team: str
    role: Role
    digest: str
    """As `token_digest` gives it."""
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None

    def refusal(self, now: datetime) -> str | None:
        """Say why it lets nobody in; None while it does."""
        if self.revoked_at is not None:
            return f"token {self.id} was revoked on {self.revoked_at:%Y-%m-%d %H:%M} UTC"
        if self.expires_at is not None and self.expires_at <= now:
            return f"token {self.id} expired on {self.expires_at:%Y-%m-%d %H:%M} UTC"
        return None


@dataclass(frozen=True)
class AuditEntry:
    """Something that was changed, or that someone was not allowed to change: who, what, when."""

    at: datetime
    team: str
    """Of who did it, as is `token`."""
    token: str
    action: str
    """The API's operation: `submit_job`."""
    path: str
    """What it was done to: `/v1/jobs/ddp-x7k2p9/stop`."""
    detail: str
    """What came of it, in a few words: `champion is version 3`."""
    status: int
    """HTTP status of the answer; 403 where it was refused."""
