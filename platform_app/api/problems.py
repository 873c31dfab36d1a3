"""Errors as problem documents (RFC 9457): one table from error to status, one form for whatever goes wrong."""

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, get_type_hints

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from platform_app.domain.validation import field_problems
from platform_app.errors import (
    Conflict,
    FieldProblem,
    Forbidden,
    InvalidRequest,
    NotFound,
    PermanentError,
    SlipwayError,
    TemporaryError,
    Unauthenticated,
)

_log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
TOO_LARGE = "too-large"
"""The code of 413, whoever finds it out: its phrase is not the same in all versions of Python."""

STATUS: Mapping[type[SlipwayError], HTTPStatus] = {
    InvalidRequest: HTTPStatus.UNPROCESSABLE_ENTITY,
    NotFound: HTTPStatus.NOT_FOUND,
    Conflict: HTTPStatus.CONFLICT,
    Unauthenticated: HTTPStatus.UNAUTHORIZED,
    Forbidden: HTTPStatus.FORBIDDEN,
    TemporaryError: HTTPStatus.SERVICE_UNAVAILABLE,
    PermanentError: HTTPStatus.BAD_GATEWAY,
    SlipwayError: HTTPStatus.INTERNAL_SERVER_ERROR,
}
"""The one place where an error gets its HTTP status; a subclass has its parent's unless it is named."""

_HEADERS = {
    HTTPStatus.UNAUTHORIZED: {"WWW-Authenticate": "Bearer"},
    HTTPStatus.SERVICE_UNAVAILABLE: {"Retry-After": "5"},
}


class FieldProblemView(BaseModel):
    """One thing wrong with one field."""

    field: str
    message: str


class ProblemView(BaseModel):
    """What went wrong, as RFC 9457 has it, with a stable code and the fields concerned."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    type: str
    title: str
    status: int
    detail: str
    """A sentence for a person: what was expected, and what to do."""
    code: str
    """Stable, for programs."""
    errors: list[FieldProblemView] = []


def problem(
    status: int,
    code: str,
    detail: str,
    errors: Sequence[FieldProblem] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Write a problem document."""
    known = HTTPStatus(status)
    view = ProblemView(
        type=f"urn:slipway:problem:{code}",
        title=known.phrase,
        status=status,
        detail=detail,
        code=code,
        errors=[FieldProblemView(field=error.field, message=error.message) for error in errors],
    )
    all_headers = {**_HEADERS.get(known, {}), **(headers or {})}
    return Response(view.model_dump_json(), status, all_headers, MEDIA_TYPE)


def status_of(error: SlipwayError) -> HTTPStatus:
    """Give the HTTP status of one of our errors."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def of_error(error: SlipwayError) -> Response:
    """Write the problem document of one of our errors."""
    return problem(
        status_of(error), error.code, str(error), error.problems if isinstance(error, InvalidRequest) else ()
    )


def documented(*statuses: HTTPStatus) -> dict[int | str, dict[str, Any]]:
    """Describe the problem documents of a route, for OpenAPI."""
    return {
        int(status): {
            "description": status.phrase,
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemView"}}},
        }
        for status in statuses
    }


def install(app: FastAPI) -> None:
    """Make the app answer every error by a problem document."""

    @app.exception_handler(SlipwayError)
    async def _ours(_request: Request, error: SlipwayError) -> Response:
        if isinstance(error, TemporaryError | PermanentError):
            _log.warning("%s", error, exc_info=error)
        return of_error(error)

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, error: RequestValidationError) -> Response:
        return _of_validation(request, error)

    @app.exception_handler(HTTPException)
    async def _framework(request: Request, error: HTTPException) -> Response:
        if error.status_code == HTTPStatus.NOT_FOUND:
            detail = f"there is no {request.url.path}: /docs lists what there is"
        elif error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            allowed = (error.headers or {}).get("Allow", "")
            detail = f"{request.url.path} does not take {request.method}; it takes {allowed}"
        else:
            detail = str(error.detail)
        is_too_large = error.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        code = TOO_LARGE if is_too_large else HTTPStatus(error.status_code).phrase.lower().replace(" ", "-")
        return problem(error.status_code, code, detail, headers=error.headers)

    @app.exception_handler(ClientDisconnect)
    async def _gone(_request: Request, _error: ClientDisconnect) -> Response:
        return problem(HTTPStatus.BAD_REQUEST, "bad-request", "the body broke off: send it again")


def _of_validation(request: Request, error: RequestValidationError) -> Response:
    errors = error.errors()
    if errors[0]["type"] == "json_invalid":
        position = errors[0]["loc"][-1]
        detail = f"the body is not JSON: {errors[0]['ctx']['error']} at character {position}"
        return problem(HTTPStatus.BAD_REQUEST, "bad-request", detail)
    if isinstance(error.body, bytes):
        content_type = request.headers.get("content-type", "none")
        detail = f"send JSON with the header Content-Type: application/json; got {content_type}"
        return problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", detail)
    # By this app's convention the body is the endpoint's parameter `spec`.
    kind = get_type_hints(request.scope["endpoint"], include_extras=True).get("spec")
    in_body = [one for one in errors if one["loc"][0] == "body"]
    elsewhere = [one for one in errors if one["loc"][0] != "body"]
    found = (*field_problems(_without_source(in_body), kind), *field_problems(_without_source(elsewhere)))
    return of_error(InvalidRequest(*(FieldProblem(one.field or "body", one.message) for one in found)))


def _without_source(errors: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{**error, "loc": error["loc"][1:]} for error in errors]
