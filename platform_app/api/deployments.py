"""`/v1/deployments`."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Body, Path

from platform_app.api.problems import documented
from platform_app.api.services import Noted, Use
from platform_app.specs import DeploymentSpec, Name
from platform_app.views import DeploymentView

router = APIRouter(prefix="/v1/deployments", tags=["deployments"])

DeploymentName = Annotated[Name, Path(description="The name under which the model answers.", examples=["digits"])]

_EXAMPLE = {"model": "digits", "alias": "champion", "min_replicas": 1, "max_replicas": 2}


@router.put("/{name}", summary="Create or replace a deployment")
def put_deployment(
    name: DeploymentName, spec: Annotated[DeploymentSpec, Body(examples=[_EXAMPLE])], services: Use, note: Noted
) -> DeploymentView:
    """Say what should serve; it is READY when it does."""
    note.detail = f"{spec.model}@{spec.alias}"
    return services.deployments.put(name, spec)


@router.get("", summary="List deployments")
def list_deployments(services: Use) -> list[DeploymentView]:
    """Give all deployments, by name."""
    return list(services.deployments.list())


@router.get("/{name}", summary="Show a deployment", responses=documented(HTTPStatus.NOT_FOUND))
def get_deployment(name: str, services: Use) -> DeploymentView:
    """Show a deployment as it is."""
    return services.deployments.get(name)


@router.delete("/{name}", status_code=HTTPStatus.NO_CONTENT, summary="Delete a deployment")
def delete_deployment(name: str, services: Use) -> None:
    """Stop serving; what is gone already gets the same answer."""
    services.deployments.delete(name)
