"""What the routers work with, and how a request gets hold of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from platform_app.services.deployments import Deployments
from platform_app.services.explain import Explain
from platform_app.services.jobs import Jobs
from platform_app.services.logs import Logs
from platform_app.services.models import Models
from platform_app.services.packages import Packages
from platform_app.views import ClusterView


@dataclass(frozen=True)
class Services:
    """The use cases behind the API."""

    jobs: Jobs
    explain: Explain
    logs: Logs
    models: Models
    deployments: Deployments
    packages: Packages
    cluster: Callable[[], ClusterView]
    missing: Callable[[], Sequence[str]]
    """Says what keeps the platform from being ready, a sentence each; nothing when it is."""


async def _of(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


Use = Annotated[Services, Depends(_of)]
"""Declares that an endpoint uses the services."""
