"""What every request passes before and around the routes, as plain ASGI: it never buffers a stream."""

import json
import logging
from collections.abc import Callable, Collection
from http import HTTPStatus

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from platform_app.api.problems import MEDIA_TYPE, TOO_LARGE, of_error, problem
from platform_app.api.services import Note
from platform_app.domain.team import NOBODY, Principal
from platform_app.errors import SlipwayError

_log = logging.getLogger(__name__)

OPEN_PATHS = frozenset(
    {"/healthz", "/readyz", "/v2/health/live", "/v2/health/ready", "/docs", "/openapi.json"},
)
"""Health, and the API's description, which a browser reads without a token and which says nothing of anyone."""

_TOKEN_HEADERS = ("authorization", "x-ray-authorization")
"""HTTP's, and Ray's own for where a proxy keeps HTTP's to itself."""


class Failsafe:
    """Turns an unexpected error into a problem document without a word of its insides; those go to the log."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception:
            if scope["type"] != "http" or started:
                raise  # Too late for an answer: the server breaks the connection, and the client sees that.
            _log.exception("%s %s failed", scope["method"], scope["path"])
            detail = "an unexpected error, which the platform's log describes; nothing that you sent explains it"
            await problem(HTTPStatus.INTERNAL_SERVER_ERROR, "error", detail)(scope, receive, send)


class InferenceErrors:
    """Writes what went wrong below `/v2` as the Open Inference Protocol has it: `{"error": ...}`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http" or not f"{_path(scope)}/".startswith("/v2/"):
            await self._app(scope, receive, send)
            return
        start: Message = {}

        async def rewritten(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start" and _is_problem(message):
                start = message
            elif start:
                # `problem` writes a document as one message.
                body = JSONResponse({"error": json.loads(message["body"])["detail"]}).body
                headers = MutableHeaders(raw=start["headers"])
                headers.update({"content-type": "application/json", "content-length": str(len(body))})
                await send(start)
                await send({**message, "body": body})
            else:
                await send(message)

        await self._app(scope, receive, rewritten)


def _is_problem(start: Message) -> bool:
    return Headers(raw=start["headers"]).get("content-type") == MEDIA_TYPE


class Authentication:
    """Finds out who is asking, and refuses whoever is not known; looks before anything of the request is read."""

    def __init__(self, app: ASGIApp, authenticate: Callable[[Collection[str]], Principal]) -> None:
        """Wrap an app.

        Args:
            app: what to protect.
            authenticate: says who asks with one of these tokens, and raises `SlipwayError` for nobody.
        """
        self._app = app
        self._authenticate = authenticate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        principal = NOBODY
        if _path(scope) not in OPEN_PATHS:
            given = [value.partition(" ") for name in _TOKEN_HEADERS for value in Headers(scope=scope).getlist(name)]
            tokens = [token.strip() for scheme, _, token in given if scheme.lower() == "bearer"]
            try:
                principal = await run_in_threadpool(self._authenticate, tokens)
            except SlipwayError as error:
                await _refuse(error, scope, receive, send)
                return
        scope.setdefault("state", {})["principal"] = principal
        await self._app(scope, receive, send)


class Audit:
    """Writes down who has changed what, before whoever asked is told that it is done.

    It looks at methods and answers alone, so that no route can be forgotten.
    """

    def __init__(self, app: ASGIApp, write: Callable[[Principal, str, str, str, int], None]) -> None:
        """Wrap an app, inside `Authentication`.

        Args:
            app: what makes the changes.
            write: takes who, the operation's name, the path, what came of it, and the answer's status.
        """
        self._app = app
        self._write = write

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        note = scope["state"]["note"] = Note()

        async def written(message: Message) -> None:
            if message["type"] == "http.response.start" and note.is_change and _is_told_of(message["status"]):
                action = getattr(scope.get("route"), "name", "")
                what = (action, _path(scope), note.detail, message["status"])
                await run_in_threadpool(self._write, scope["state"]["principal"], *what)
            await send(message)

        looks = scope.get("method", "GET") in ("GET", "HEAD", "OPTIONS")
        await self._app(scope, receive, send if looks else written)


def _is_told_of(status: int) -> bool:
    return status < HTTPStatus.BAD_REQUEST or status == HTTPStatus.FORBIDDEN


async def _refuse(error: SlipwayError, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        await of_error(error)(scope, receive, send)
    else:
        # A websocket that is closed before it was accepted is answered with 403 by the server.
        await send({"type": "websocket.close", "code": 1008, "reason": str(error)[:120]})


class BodyLimit:
    """Refuses a body that is too large as soon as that is known, whatever its headers claim."""

    def __init__(self, app: ASGIApp, limit_bytes: int, limits: dict[str, int], advice: str) -> None:
        """Wrap an app.

        Args:
            app: what to protect.
            limit_bytes: the limit of every route that has none of its own.
            limits: limits in bytes of all paths that begin so.
            advice: what to do where such a limit of its own is too small.
        """
        self._app = app
        self._limit = limit_bytes
        self._limits = limits
        self._advice = advice

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        own = next((limit for beginning, limit in self._limits.items() if _path(scope).startswith(beginning)), None)
        limit = self._limit if own is None else own
        detail = f"the body is larger than the {limit} bytes that this route takes"
        detail += f": {self._advice}" if own is not None else ""
        claimed = Headers(scope=scope).get("content-length", "")
        if claimed.isdigit() and int(claimed) > limit:
            await problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, TOO_LARGE, detail)(scope, receive, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)
            return message

        await self._app(scope, counted, send)


def _path(scope: Scope) -> str:
    """Give the path below where the app is mounted."""
    return str(scope["path"]).removeprefix(str(scope.get("root_path", "")))
