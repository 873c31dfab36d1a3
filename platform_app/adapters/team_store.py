"""Teams, their tokens and the audit log, in SQL."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Engine, and_, insert, select, true, update
from sqlalchemy.exc import IntegrityError

from platform_app.adapters.tables import audit, audit_entry_of, team_of, teams, token_of, tokens
from platform_app.adapters.transactions import transaction
from platform_app.domain.team import AuditEntry, Team, Token
from platform_app.errors import Conflict, NotFound
from platform_app.specs import Quota


class SqlTeamStore:
    """`TeamStore` in SQL."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def teams(self) -> Sequence[Team]:
        """Read all teams, by name."""
        with transaction(self._engine) as connection:
            rows = connection.execute(select(teams).order_by(teams.c.name))
            return [team_of(row) for row in rows.mappings()]

    def add(self, team: Team) -> None:
        """Store a team; nothing happens when there is one of this name."""
        row = {"name": team.name, "quota": team.quota.model_dump_json(), "created_at": team.created_at}
        try:
            with transaction(self._engine) as connection:
                connection.execute(insert(teams).values(row))
        except IntegrityError:
            return

    def set_quota(self, name: str, quota: Quota) -> None:
        """Replace a team's quota; nothing happens when there is no such team."""
        with transaction(self._engine) as connection:
            connection.execute(update(teams).where(teams.c.name == name).values(quota=quota.model_dump_json()))

    def account(self, name: str, used: float, now: datetime) -> None:
        """Write what a team's jobs have used lately, as of now; nothing happens when there is no such team."""
        with transaction(self._engine) as connection:
            connection.execute(update(teams).where(teams.c.name == name).values(used=used, used_at=now))

    def tokens(self, team: str | None = None) -> Sequence[Token]:
        """Read the tokens of a team, or all: also those that let nobody in any more; oldest first."""
        wanted = true() if team is None else tokens.c.team == team
        with transaction(self._engine) as connection:
            rows = connection.execute(select(tokens).where(wanted).order_by(tokens.c.created_at, tokens.c.id))
            return [token_of(row) for row in rows.mappings()]

    def add_token(self, token: Token) -> None:
        """Store a token. Raises Conflict for a used id, NotFound where there is no such team."""
        try:
            with transaction(self._engine) as connection:
                connection.execute(insert(tokens).values(vars(token)))
        except IntegrityError as error:
            with transaction(self._engine) as connection:
                if connection.scalar(select(teams.c.name).where(teams.c.name == token.team)) is None:
                    raise NotFound(f"there is no team {token.team!r}") from error
            raise Conflict(f"there is a token {token.id} already") from error

    def token_of(self, digest: str) -> Token | None:
        """Read the token with a digest."""
        with transaction(self._engine) as connection:
            row = connection.execute(select(tokens).where(tokens.c.digest == digest)).mappings().one_or_none()
            return token_of(row) if row else None

    def revoke(self, token_id: str, now: datetime) -> Token | None:
        """Revoke a token and give it; the first time counts. None where there is no such token."""
        with transaction(self._engine) as connection:
            first = and_(tokens.c.id == token_id, tokens.c.revoked_at.is_(None))
            connection.execute(update(tokens).where(first).values(revoked_at=now))
            row = connection.execute(select(tokens).where(tokens.c.id == token_id)).mappings().one_or_none()
            return token_of(row) if row else None

    def audit(self, entry: AuditEntry) -> None:
        """Append to the audit log."""
        with transaction(self._engine) as connection:
            connection.execute(insert(audit).values(vars(entry)))

    def audited(self, team: str | None, limit: int, before: int | None = None) -> Sequence[tuple[int, AuditEntry]]:
        """Read numbered entries, newest first: of one team's tokens, or all; only those numbered below `before`."""
        whose = true() if team is None else audit.c.team == team
        older = true() if before is None else audit.c.id < before
        with transaction(self._engine) as connection:
            rows = connection.execute(select(audit).where(whose, older).order_by(audit.c.id.desc()).limit(limit))
            return [(row["id"], audit_entry_of(row)) for row in rows.mappings()]
