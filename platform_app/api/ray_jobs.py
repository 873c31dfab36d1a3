"""Ray's own job REST API (Ray 2.60, `ray/dashboard/modules/job/job_head.py`), so that its clients work unchanged.

    RAY_API_SERVER_ADDRESS=http://platform:8000 RAY_AUTH_MODE=token RAY_AUTH_TOKEN=… ray job submit -- python train.py

Routes, bodies and statuses are Ray's, also where they surprise: a submission id that is taken, and the deletion of a
job that runs, are answered with 500. Ray's clients show an answer's text as it is, so errors are plain sentences here.
"""

from collections.abc import Callable, Coroutine
from http import HTTPStatus
from importlib.metadata import version
from typing import Any

import anyio
from fastapi import APIRouter, Request, Response, WebSocket
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, PlainTextResponse
from fastapi.routing import APIRoute

from platform_app.api.platform import pieces
from platform_app.api.problems import status_of
from platform_app.api.services import Noted, Use
from platform_app.errors import Conflict, InvalidRequest, NotFound, SlipwayError

PACKAGES_PATH = "/api/packages/"
_API_VERSION = "4"
"""Of Ray's job API, as its clients compare it: with log streaming, submission ids, resources and deletion."""

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class _PlainErrors(APIRoute):
    """Answers our errors by their sentence alone, with the statuses of Ray."""

    def get_route_handler(self) -> Handler:
        handle = super().get_route_handler()

        async def plain(request: Request) -> Response:
            try:
                return await handle(request)
            except SlipwayError as error:
                return _said(error)

        return plain


_STATUS = {InvalidRequest: HTTPStatus.BAD_REQUEST, Conflict: HTTPStatus.INTERNAL_SERVER_ERROR}
"""Where Ray's statuses are not ours."""


def _said(error: SlipwayError) -> Response:
    return PlainTextResponse(str(error), _STATUS.get(type(error), status_of(error)))


_SENTENCE = {"description": "What went wrong, in a sentence", "content": {"text/plain": {"schema": {"type": "string"}}}}

router = APIRouter(
    prefix="/api", tags=["ray"], route_class=_PlainErrors, responses={"4XX": _SENTENCE, "5XX": _SENTENCE}
)
sockets = APIRouter(prefix="/api")


@router.get("/version", summary="Say which Ray and which job API this is")
def get_version() -> dict[str, str]:
    """Answer what Ray's clients ask first."""
    return {"version": _API_VERSION, "ray_version": version("ray"), "ray_commit": "", "session_name": "slipway"}


@router.get("/packages/{protocol}/{package_name}", summary="Say whether a package is here")
def get_package(protocol: str, package_name: str, services: Use) -> Response:
    """Answer 200 when the team has uploaded it, so that its client need not."""
    if not services.ray_door.has_package(protocol, package_name):
        raise NotFound(f"Package {protocol}://{package_name} does not exist")
    return Response()


@router.put("/packages/{protocol}/{package_name}", summary="Upload a package")
async def put_package(protocol: str, package_name: str, request: Request, services: Use) -> Response:
    """Store a working directory; the body goes to storage piece by piece as it arrives."""
    chunks = pieces(request.stream())
    await run_in_threadpool(services.ray_door.put_package, protocol, package_name, chunks)
    return Response()


@router.post("/jobs/", summary="Submit a job as Ray's clients do")
async def submit_ray_job(request: Request, services: Use, note: Noted) -> Response:
    """Store a job; it starts when there is room for it."""
    try:
        body = await request.json()
    except ValueError as error:
        return PlainTextResponse(f"the body is not JSON: {error}", HTTPStatus.BAD_REQUEST)
    job = await run_in_threadpool(services.ray_door.submit, body)
    note.detail = job.id
    return JSONResponse({"job_id": job.door_id, "submission_id": job.door_id})


@router.get("/jobs/", summary="List jobs in Ray's form")
def list_ray_jobs(services: Use) -> list[dict[str, Any]]:
    """Give the newest thousand jobs, whatever door they came by."""
    return list(services.ray_door.list())


@router.get("/jobs/{submission_id}", summary="Show a job in Ray's form")
def get_ray_job(submission_id: str, services: Use) -> dict[str, Any]:
    """Show a job; one that waits says why."""
    return services.ray_door.show(submission_id)


@router.delete("/jobs/{submission_id}", summary="Delete an ended job")
def delete_ray_job(submission_id: str, services: Use) -> dict[str, bool]:
    """Forget a job here; the ledger keeps it."""
    services.ray_door.delete(submission_id)
    return {"deleted": True}


@router.post("/jobs/{submission_id}/stop", summary="Stop a job")
def stop_ray_job(submission_id: str, services: Use) -> dict[str, bool]:
    """Ask a job to stop, and say whether it had not ended yet."""
    return {"stopped": services.ray_door.stop(submission_id)}


@router.get("/jobs/{submission_id}/logs", summary="Read a job's output")
def get_ray_job_logs(submission_id: str, services: Use) -> dict[str, str]:
    """Give the output of all of its attempts so far."""
    return {"logs": services.ray_door.output(submission_id)}


@sockets.websocket("/jobs/{submission_id}/logs/tail")
async def tail_ray_job_logs(socket: WebSocket, submission_id: str, services: Use) -> None:
    """Stream a job's output, over all of its attempts, until it ends or the reader leaves."""
    try:
        job_id = await run_in_threadpool(services.ray_door.job_id, submission_id)
    except SlipwayError as error:
        await socket.send_denial_response(_said(error))
        return
    await socket.accept()
    async with anyio.create_task_group() as tasks:

        async def watch() -> None:
            # A reader says nothing until it leaves; a job may be silent for hours meanwhile.
            while (await socket.receive())["type"] != "websocket.disconnect":
                pass
            tasks.cancel_scope.cancel()

        tasks.start_soon(watch)
        async for text in services.ray_door.follow(job_id):
            await socket.send_text(text)
        await socket.close()
        tasks.cancel_scope.cancel()
