"""What the routers work with, who is asking, and how a request gets hold of both."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection

from platform_app.domain.team import Principal
from platform_app.errors import Forbidden
from platform_app.ports import ModelPredictions
from platform_app.services.deployments import Deployments
from platform_app.services.explain import Explain
from platform_app.services.jobs import Jobs
from platform_app.services.lineage import Lineage
from platform_app.services.logs import Logs
from platform_app.services.models import Models
from platform_app.services.packages import Packages
from platform_app.services.ray_door import RayDoor
from platform_app.services.teams import Teams
from platform_app.specs import Role
from platform_app.views import ClusterView


@dataclass(frozen=True)
class Services:
    """The use cases behind the API, as one caller has them."""

    jobs: Jobs
    explain: Explain
    logs: Logs
    models: Models
    deployments: Deployments
    lineage: Lineage
    predictions: ModelPredictions
    packages: Packages
    ray_door: RayDoor
    teams: Teams
    cluster: Callable[[], ClusterView]
    missing: Callable[[], Sequence[str]]
    """Says what keeps the platform from being ready, a sentence each; nothing when it is."""

    def of(self, caller: Principal) -> "Services":
        """Give the use cases as a caller has them."""
        return replace(
            self,
            jobs=self.jobs.of(caller),
            explain=self.explain.of(caller),
            logs=self.logs.of(caller),
            ray_door=self.ray_door.of(caller),
        )


async def _caller(connection: HTTPConnection) -> Principal:
    principal: Principal = connection.state.principal
    return principal


Caller = Annotated[Principal, Depends(_caller)]
"""Declares that an endpoint, HTTP or websocket, wants to know who is asking; `Authentication` has found out."""


async def _use(connection: HTTPConnection, caller: Caller) -> Services:
    services: Services = connection.app.state.services
    return services.of(caller)


Use = Annotated[Services, Depends(_use)]
"""Declares that an endpoint uses the services, as its caller has them: another team's job is not there."""


@dataclass
class Note:
    """What an endpoint adds to its request's entry in the audit log."""

    detail: str = ""
    """What came of it, in a few words."""
    is_change: bool = True
    """False where nothing was changed after all, as by a dry run: then there is no entry."""


async def _note(connection: HTTPConnection) -> Note:
    note: Note = connection.state.note
    return note


Noted = Annotated[Note, Depends(_note)]
"""Declares that an endpoint has something to add to the audit log."""


async def changes_need_a_member(connection: HTTPConnection, caller: Caller) -> None:
    """Refuse a viewer whatever is more than looking. Raises Forbidden."""
    if connection.scope.get("method", "GET") not in ("GET", "HEAD", "OPTIONS"):
        require(caller, Role.MEMBER)


async def _admin(caller: Caller) -> Principal:
    require(caller, Role.ADMIN)
    return caller


Admin = Annotated[Principal, Depends(_admin)]
"""Declares that an endpoint is for admins alone."""


def require(caller: Principal, role: Role) -> None:
    """Refuse a caller whose token has less than a role. Raises Forbidden."""
    if not caller.role.covers(role):
        raise Forbidden(f"this needs a token with the role {role}; {caller} is a {caller.role}: ask an admin for one")
