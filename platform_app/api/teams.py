"""`/v1/teams`, `/v1/tokens` and `/v1/audit`."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Body, Path, Query, Response

from platform_app.api.problems import documented
from platform_app.api.services import Admin, Caller, Noted, Use
from platform_app.specs import Name, Quota, TokenSpec
from platform_app.views import AuditView, NewTokenView, Page, TeamView, TokenView

router = APIRouter(tags=["teams"])

_NOT_FOUND = documented(HTTPStatus.NOT_FOUND)
_QUOTA = {"gpus": {"A10G": 4, "A10G/on-demand": 1}, "cpus": 64, "jobs": 10, "borrow": True}
_TOKEN = {"name": "ci", "team": "research", "role": "member", "expires_in_days": 90}


@router.get("/v1/teams", summary="List teams")
def list_teams(services: Use, caller: Caller) -> list[TeamView]:
    """Give the caller's team, or all of them for an admin, by name."""
    return list(services.teams.teams(caller))


@router.get("/v1/teams/{name}", summary="Show a team", responses=_NOT_FOUND)
def get_team(name: str, services: Use, caller: Caller) -> TeamView:
    """Show a team and its quota."""
    return services.teams.team(caller, name)


@router.put("/v1/teams/{name}", summary="Create a team, or replace its quota")
def put_team(
    name: Annotated[Name, Path(description="The team's name.", examples=["research"])],
    spec: Annotated[Quota, Body(examples=[_QUOTA])],
    services: Use,
    caller: Admin,
    note: Noted,
) -> TeamView:
    """Say how much a team may hold. What runs goes on; what waits starts when there is room within the quota."""
    note.detail = spec.model_dump_json(exclude_defaults=True)
    return services.teams.put(caller, name, spec)


@router.get("/v1/tokens", summary="List tokens")
def list_tokens(services: Use, caller: Caller) -> list[TokenView]:
    """Say what is known of the team's tokens, or of all for an admin; never the tokens themselves."""
    return list(services.teams.tokens(caller))


@router.post("/v1/tokens", status_code=HTTPStatus.CREATED, summary="Make a token")
def add_token(
    spec: Annotated[TokenSpec, Body(examples=[_TOKEN])], services: Use, _: Admin, note: Noted, response: Response
) -> NewTokenView:
    """Make a token for a team. It is told in this answer and nowhere else."""
    made = services.teams.add_token(spec)
    note.detail = f"{made.of.id}: {spec.role} of {spec.team}"
    response.headers["Cache-Control"] = "no-store"
    return made


@router.delete("/v1/tokens/{token_id}", summary="Revoke a token", responses=_NOT_FOUND)
def revoke_token(token_id: str, services: Use, _: Admin) -> TokenView:
    """Let nobody in by a token any more, from the next request on; a second time changes nothing."""
    return services.teams.revoke(token_id)


@router.get("/v1/audit", summary="Read the audit log")
def list_audit(
    services: Use,
    caller: Caller,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(description="`next_cursor` of the page before.")] = None,
) -> Page[AuditView]:
    """Give a page of what the team's tokens have changed, or all have for an admin, newest first."""
    return services.teams.audited(caller, limit, cursor)
