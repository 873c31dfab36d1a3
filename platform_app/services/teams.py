"""Teams, their quotas and tokens, who is asking, and the audit log."""

import hmac
import secrets
from collections.abc import Callable, Collection, Sequence
from datetime import timedelta

from platform_app.domain.team import DEFAULT_TEAM, AuditEntry, Principal, Team, Token, token_digest
from platform_app.domain.validation import nearest
from platform_app.errors import FieldProblem, InvalidRequest, NotFound, Unauthenticated
from platform_app.ports import Clock, TeamStore
from platform_app.services.jobs import new_job_id
from platform_app.specs import Quota, Role, TokenSpec
from platform_app.views import AuditView, NewTokenView, Page, TeamView, TokenView

_SECRET = Principal(DEFAULT_TEAM, Role.ADMIN, "of-the-settings")
"""Whoever has a token of the settings."""


def new_token() -> str:
    """Make a token: 256 random bits, and a beginning by which scanners for leaked secrets know it."""
    return f"slipway_{secrets.token_urlsafe(32)}"


class Teams:
    """The use cases of teams, tokens and the audit log."""

    def __init__(
        self,
        store: TeamStore,
        admin_digests: Collection[str],
        clock: Clock,
        new_id: Callable[[str], str] = new_job_id,
    ) -> None:
        """Put the use cases together.

        Args:
            store: keeps teams, tokens and the log.
            admin_digests: digests of the tokens of the settings: admins, whatever becomes of the database.
            clock: the time.
            new_id: makes an id from a token's name.
        """
        self._store = store
        self._admin_digests = tuple(digest.lower() for digest in admin_digests)
        self._clock = clock
        self._new_id = new_id

    def authenticate(self, tokens: Collection[str]) -> Principal:
        """Say who asks with one of these tokens.

        Raises:
            Unauthenticated: none of them is known, or lets anybody in now.
        """
        refusals = ["send a token of this platform: the header Authorization: Bearer TOKEN"]
        for digest in map(token_digest, tokens):
            # Every one is compared, each in constant time, so that how long it takes tells nothing.
            if sum(hmac.compare_digest(digest, known) for known in self._admin_digests):
                return _SECRET
            # The index is searched for a hash, of which how long it takes tells nothing that is of use.
            if (token := self._store.token_of(digest)) is None:
                continue
            if (refusal := token.refusal(self._clock.now())) is None:
                return Principal(token.team, token.role, token.id)
            refusals.append(f"{refusal}: ask an admin for a new one (slipway tokens add)")
        raise Unauthenticated(refusals[-1])

    def digests(self) -> tuple[str, ...]:
        """Give the digests of all tokens that let anybody in now, in an order that stays: the model servers' list."""
        now = self._clock.now()
        valid = (token.digest for token in self._store.tokens() if token.refusal(now) is None)
        return (*self._admin_digests, *sorted(valid))

    def teams(self, caller: Principal) -> Sequence[TeamView]:
        """Show the teams that a caller sees, by name."""
        return [TeamView.of(team) for team in self._store.teams() if caller.sees(team.name)]

    def team(self, caller: Principal, name: str) -> TeamView:
        """Show a team. Raises NotFound, for another's too."""
        seen = {team.name: team for team in self._store.teams() if caller.sees(team.name)}
        if name not in seen:
            raise NotFound(f"there is no team {name!r}{nearest(name, seen)}")
        return TeamView.of(seen[name])

    def put(self, caller: Principal, name: str, quota: Quota) -> TeamView:
        """Make a team, or give one another quota. What runs goes on; what is queued waits for room within it."""
        self._store.add(Team(name, self._clock.now(), quota))
        self._store.set_quota(name, quota)
        return self.team(caller, name)

    def tokens(self, caller: Principal) -> Sequence[TokenView]:
        """Show what is known of the tokens of the caller's team, or of all teams; never the tokens themselves."""
        now = self._clock.now()
        return [TokenView.of(token, now) for token in self._store.tokens(None if caller.is_admin else caller.team)]

    def add_token(self, spec: TokenSpec) -> NewTokenView:
        """Make a token. It is told this once; what is kept is its digest.

        Raises:
            InvalidRequest: there is no such team.
        """
        known = [team.name for team in self._store.teams()]
        if spec.team not in known:
            raise InvalidRequest(FieldProblem("team", f"no such team: {spec.team!r}{nearest(spec.team, known)}"))
        now, text = self._clock.now(), new_token()
        expires_at = None if spec.expires_in_days is None else now + timedelta(days=spec.expires_in_days)
        token = Token(
            self._new_id(spec.name), spec.name, spec.team, spec.role, token_digest(text), now, expires_at=expires_at
        )
        self._store.add_token(token)
        return NewTokenView(token=text, of=TokenView.of(token, now))

    def revoke(self, token_id: str) -> TokenView:
        """Let nobody in by a token any more; a second time changes nothing. Raises NotFound."""
        now = self._clock.now()
        token = self._store.revoke(token_id, now)
        if token is None:
            known = [one.id for one in self._store.tokens()]
            raise NotFound(f"there is no token {token_id!r}{nearest(token_id, known)}")
        return TokenView.of(token, now)

    def audit(self, caller: Principal, action: str, path: str, detail: str, status: int) -> None:
        """Write down that a caller has changed something, or was not allowed to."""
        self._store.audit(AuditEntry(self._clock.now(), caller.team, caller.token, action, path, detail, status))

    def audited(self, caller: Principal, limit: int, cursor: str | None = None) -> Page[AuditView]:
        """Show a page of what the caller's team has changed, or all have, newest first. Raises InvalidRequest."""
        if cursor is not None and not (cursor.isascii() and cursor.isdigit() and len(cursor) < 18):
            raise InvalidRequest(
                FieldProblem("cursor", "not a cursor of this list: pass `next_cursor` of the page before")
            )
        whose = None if caller.is_admin else caller.team
        found = self._store.audited(whose, limit + 1, int(cursor) if cursor else None)
        page = found[:limit]
        following = str(page[-1][0]) if len(found) > limit else None
        return Page[AuditView](items=tuple(AuditView.of(entry) for _, entry in page), next_cursor=following)
