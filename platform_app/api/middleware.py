"""What every request passes before and around the routes, as plain ASGI: it never buffers a stream."""

import hashlib
import hmac
import logging
from collections.abc import Collection
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from platform_app.api.problems import of_error, problem
from platform_app.errors import Unauthenticated

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


class Authentication:
    """Lets a request pass that carries a known token; looks before anything of the request is read."""

    def __init__(self, app: ASGIApp, token_digests: Collection[str]) -> None:
        """Wrap an app.

        Args:
            app: what to protect.
            token_digests: SHA-256 of the known tokens, as hexadecimal digits.
        """
        self._app = app
        self._known = tuple(digest.lower().encode() for digest in token_digests)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http" or _path(scope) in OPEN_PATHS or self._is_known(Headers(scope=scope)):
            await self._app(scope, receive, send)
            return
        error = Unauthenticated("send a token of this platform: the header Authorization: Bearer TOKEN")
        await of_error(error)(scope, receive, send)

    def _is_known(self, headers: Headers) -> bool:
        given = [value.partition(" ") for name in _TOKEN_HEADERS for value in headers.getlist(name)]
        tokens = [token.strip() for scheme, _, token in given if scheme.lower() == "bearer"]
        digests = [hashlib.sha256(token.encode()).hexdigest().encode() for token in tokens]
        # Every pair is compared, each in constant time, so that how long it takes tells nothing.
        matches = [hmac.compare_digest(digest, known) for digest in digests for known in self._known]
        return any(matches)


class BodyLimit:
    """Refuses a body that is too large as soon as that is known, whatever its headers claim."""

    def __init__(self, app: ASGIApp, limit_bytes: int, limits: dict[str, int]) -> None:
        """Wrap an app.

        Args:
            app: what to protect.
            limit_bytes: the limit of every route that has none of its own.
            limits: limits in bytes by path.
        """
        self._app = app
        self._limit = limit_bytes
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._limits.get(_path(scope), self._limit)
        detail = f"the body is larger than the {limit} bytes that this route takes"
        claimed = Headers(scope=scope).get("content-length", "")
        if claimed.isdigit() and int(claimed) > limit:
            await problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too-large", detail)(scope, receive, send)
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
