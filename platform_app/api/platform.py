"""The cluster, uploads and health."""

from collections.abc import AsyncIterator, Iterator
from http import HTTPStatus

import anyio.from_thread
from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool

from platform_app.api.problems import documented, problem
from platform_app.api.services import Use
from platform_app.views import ClusterView

router = APIRouter()
health = APIRouter(tags=["health"])

PACKAGES_PATH = "/v1/packages"


@router.get("/v1/cluster", tags=["cluster"], summary="Show the cluster's worker groups")
def get_cluster(services: Use) -> ClusterView:
    """Show each worker group: workers now, asked for, least, most, market and price."""
    return services.cluster()


@router.post(
    PACKAGES_PATH,
    tags=["jobs"],
    status_code=HTTPStatus.CREATED,
    summary="Upload a working directory",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
    responses=documented(HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
)
async def add_package(request: Request, services: Use) -> dict[str, str]:
    """Store a zip of code and give the name by which a job's `working_dir` takes it along."""
    # The body goes to storage piece by piece as it arrives; the whole of it is never in memory.
    package = await run_in_threadpool(lambda: services.packages.add(pieces(request.stream())))
    return {"package": package}


def pieces(stream: AsyncIterator[bytes]) -> Iterator[bytes]:
    """Read an asynchronous stream from a worker thread."""

    async def following() -> bytes | None:
        return await anext(stream, None)

    while (piece := anyio.from_thread.run(following)) is not None:
        if piece:
            yield piece


@health.get("/healthz", summary="Say that the platform is alive")
def get_health() -> dict[str, str]:
    """Answer as long as the process does."""
    return {"status": "ok"}


@health.get(
    "/readyz", summary="Say whether the platform is ready", responses=documented(HTTPStatus.SERVICE_UNAVAILABLE)
)
def get_readiness(services: Use) -> Response:
    """Answer 200 when the database is there and migrated and a reconciler is at work."""
    if missing := services.missing():
        return problem(HTTPStatus.SERVICE_UNAVAILABLE, "not-ready", "; ".join(missing))
    return Response('{"status":"ready"}', media_type="application/json")
