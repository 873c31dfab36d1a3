"""What an admin does about teams: quotas, tokens, the audit log."""

from platform_app.client.calls import Calls
from platform_app.specs import Quota, TokenSpec
from platform_app.views import AuditView, NewTokenView, Page, TeamView, TokenView


class TeamCalls(Calls):
    """One method for each thing that the API can do about teams."""

    def teams(self) -> tuple[TeamView, ...]:
        """List one's team, or all of them for an admin."""
        return tuple(TeamView.model_validate(one) for one in self._json("GET", "/v1/teams"))

    def put_team(self, name: str, quota: Quota) -> TeamView:
        """Make a team, or replace its quota."""
        return TeamView.model_validate(self._json("PUT", f"/v1/teams/{name}", json=quota.model_dump(mode="json")))

    def tokens(self) -> tuple[TokenView, ...]:
        """List what is known of one's team's tokens, or of all for an admin."""
        return tuple(TokenView.model_validate(one) for one in self._json("GET", "/v1/tokens"))

    def add_token(self, spec: TokenSpec) -> NewTokenView:
        """Make a token; the answer is the only place where it is told."""
        body = spec.model_dump(mode="json")
        return NewTokenView.model_validate(self._json("POST", "/v1/tokens", repeatable=False, json=body))

    def revoke_token(self, token_id: str) -> TokenView:
        """Let nobody in by a token any more."""
        return TokenView.model_validate(self._json("DELETE", f"/v1/tokens/{token_id}"))

    def audit(self, limit: int = 50, cursor: str | None = None) -> Page[AuditView]:
        """Read a page of the audit log, newest first."""
        params = {"limit": limit} | ({"cursor": cursor} if cursor else {})
        return Page[AuditView].model_validate(self._json("GET", "/v1/audit", params=params))
