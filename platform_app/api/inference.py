"""The Open Inference Protocol v2 for the server as a whole; Serve routes what is asked of a model past this process.

Only for a model that serves nothing does a request come here. Whatever goes wrong below `/v2` is told in the protocol's
own form.
"""

from http import HTTPStatus
from importlib.metadata import version
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from platform_app.api.problems import documented, problem
from platform_app.api.services import Use
from platform_app.errors import NotFound
from serve.protocol import EXTENSIONS

router = APIRouter(tags=["inference"])
health = APIRouter(tags=["health"])

_ROWS = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {"rows": {"type": "array", "minItems": 1, "items": {}}},
                    "required": ["rows"],
                },
                "example": {"rows": [[0.0, 12.0, 7.5]]},
            }
        },
    }
}

_ERRORS: dict[int | str, dict[str, Any]] = {
    "default": {
        "description": "Why not, as the protocol has it",
        "content": {
            "application/json": {
                "schema": {"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]}
            }
        },
    }
}


@router.get("/v2/", include_in_schema=False)  # as the protocol writes it; its clients leave the slash out
@router.get("/v2", summary="Describe the inference server", responses=_ERRORS)
def get_server_metadata() -> dict[str, str | list[str]]:
    """Say who answers; models answer below `/v2/models/{deployment}`."""
    return {"name": "slipway", "version": version("slipway"), "extensions": list(EXTENSIONS)}


@router.post(
    "/v1/deployments/{deployment}/predict",
    summary="Predict for plain JSON rows",
    openapi_extra=_ROWS,
    responses=documented(HTTPStatus.UNAUTHORIZED, HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.SERVICE_UNAVAILABLE),
)
async def predict(deployment: str, request: Request, services: Use) -> Response:
    """Answer `{"rows": [...]}` by `{"predictions": [...]}`, one for each row.

    A row is what the model takes, such as a list of numbers; of a model with named columns, an object of them. A
    deployment that is scaled to zero starts, and the request waits. Of a deployment that has several models, the header
    `serve_multiplexed_model_id` says which of them is asked.
    """
    await run_in_threadpool(services.deployments.get, deployment)
    told = await services.predictions.predict(deployment, await request.body(), request.headers.raw)
    if told.status != HTTPStatus.OK:
        code = HTTPStatus(told.status).phrase.lower().replace(" ", "-")
        return problem(told.status, code, told.message, headers=told.headers)
    return Response(told.body, told.status, dict(told.headers), "application/json")


@router.api_route("/v2/models/{deployment}", methods=["GET", "POST"], include_in_schema=False)
@router.api_route("/v2/models/{deployment}/{rest:path}", methods=["GET", "POST"], include_in_schema=False)
def get_absent_model(deployment: str, services: Use) -> Response:
    """Say why a model does not answer: there is none, or it is not ready yet."""
    try:
        found = services.deployments.get(deployment)
    except NotFound as error:
        return JSONResponse({"error": str(error)}, HTTPStatus.NOT_FOUND)
    message = f"deployment {deployment!r} is {found.state}" + (f": {found.message}" if found.message else "")
    return JSONResponse({"error": message}, HTTPStatus.SERVICE_UNAVAILABLE, {"Retry-After": "5"})


@health.get("/v2/health/live", summary="Say that the inference server is alive")
def get_inference_liveness() -> dict[str, bool]:
    """Answer as long as the process does."""
    return {"live": True}


@health.get("/v2/health/ready", summary="Say whether the inference server is ready")
def get_inference_readiness() -> dict[str, bool]:
    """Say that requests are taken; each model has its own `ready`."""
    return {"ready": True}
