"""`/v1/deployments`."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Body, Path

from platform_app.api.problems import documented
from platform_app.api.services import Noted, Use
from platform_app.serving_views import DeploymentView, LineageView, RevisionView
from platform_app.specs import DeploymentSpec, Name, RollbackSpec
from platform_app.views import EventView

router = APIRouter(prefix="/v1/deployments", tags=["deployments"])
lineage = APIRouter(prefix="/v1/jobs", tags=["jobs"])

DeploymentName = Annotated[Name, Path(description="The name under which the model answers.", examples=["digits"])]

_EXAMPLE = {"model": "digits", "alias": "champion", "min_replicas": 1, "max_replicas": 2}


@router.put("/{name}", summary="Create or replace a deployment", responses=documented(HTTPStatus.CONFLICT))
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


@router.post(
    "/{name}/rollback",
    summary="Go back, alias and traffic together",
    responses=documented(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
)
def rollback_deployment(name: str, services: Use, note: Noted, spec: RollbackSpec | None = None) -> DeploymentView:
    """End the rollout that is under way, or serve a former revision again (the newest of another version)."""
    view = services.deployments.rollback(name, spec.revision if spec else None)
    note.detail = view.message
    return view


@router.get("/{name}/events", summary="Tell what happened to a deployment", responses=documented(HTTPStatus.NOT_FOUND))
def list_deployment_events(name: str, services: Use) -> list[EventView]:
    """Give what happened, oldest first: revisions, steps of rollouts, breaches with their numbers."""
    return list(services.deployments.events(name))


@router.get("/{name}/revisions", summary="List a deployment's revisions", responses=documented(HTTPStatus.NOT_FOUND))
def list_revisions(name: str, services: Use) -> list[RevisionView]:
    """Give all that was ever served under the name, newest first; they outlive the deployment."""
    return list(services.deployments.revisions(name))


@router.get(
    "/{name}/revisions/{number}/lineage",
    summary="Trace a revision back to what made it",
    responses=documented(HTTPStatus.NOT_FOUND),
)
def get_revision_lineage(name: str, number: int, services: Use) -> LineageView:
    """Give the model version, run, job, attempt, spec and commit behind the answers with this `slipway-revision`."""
    return services.lineage.of_revision(name, number, services.jobs)


@lineage.get(
    "/{job_id}/revisions", summary="Trace a job on to what serves it", responses=documented(HTTPStatus.NOT_FOUND)
)
def list_job_revisions(job_id: str, services: Use) -> list[RevisionView]:
    """Give the revisions of deployments that served, or tried to serve, what this job made; newest first."""
    return list(services.lineage.of_job(job_id, services.jobs))
