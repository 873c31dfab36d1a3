"""The protocol's REST routes of one model, as a plain ASGI application: no framework on the way to the model.

Of a deployment that has several models, the header `serve_multiplexed_model_id` says which of them is asked.

GET  /v2/models/{deployment}[/versions/{version}]            what the model takes and gives
GET  /v2/models/{deployment}[/versions/{version}]/ready      open to all, as load balancers and probes expect
POST /v2/models/{deployment}[/versions/{version}]/infer
"""

from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import Protocol

from starlette.types import Receive, Scope, Send

from serve.exchange import Answer, Question, Refusal, Wire, model_id
from serve.rest import JSON_LENGTH_HEADER, error_body

_JSON_LENGTH = JSON_LENGTH_HEADER.encode()


class Server(Protocol):
    """What answers behind the routes."""

    max_body_bytes: int

    def admit(self, authorization: str) -> None:
        """Raise Refusal for a caller without a known token."""
        ...

    def check_version(self, version: str, name: str) -> None:
        """Raise Refusal for a version that is not served, of the model of that name; empty: of the deployment's own."""
        ...

    async def metadata(self, name: str) -> Answer:
        """Describe a model, as JSON."""
        ...

    def ready(self, name: str) -> bytes:
        """Say that a model answers, as JSON."""
        ...

    def signed(self, answer: Answer) -> Sequence[tuple[bytes, bytes]]:
        """Give the headers that say who answered."""
        ...

    async def answer(self, question: Question) -> Answer:
        """Predict."""
        ...


class HttpDoor:
    """The routes, as an ASGI application below the deployment's prefix."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._routes: dict[tuple[str, str], Callable[[Scope, Receive], Awaitable[Answer]]] = {
            ("GET", ""): self._metadata,
            ("GET", "/ready"): self._ready,
            ("POST", "/infer"): self._infer,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        try:
            answer = await self._answer(scope, receive)
        except Refusal as refusal:
            answer = Answer(refusal.status, error=str(refusal))
        body = error_body(answer.error) if answer.error else answer.body
        headers = [(b"content-length", str(len(body)).encode()), *self._server.signed(answer)]
        if answer.json_length is None:
            headers.append((b"content-type", b"application/json"))
        else:
            headers.append((b"content-type", b"application/octet-stream"))
            headers.append((_JSON_LENGTH, str(answer.json_length).encode()))
        if answer.status is HTTPStatus.UNAUTHORIZED:
            headers.append((b"www-authenticate", b"Bearer"))
        await send({"type": "http.response.start", "status": int(answer.status), "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        method, path = scope["method"], scope["path"].removeprefix(scope.get("root_path", ""))
        version = ""
        if path.startswith("/versions/"):
            version, slash, rest = path.removeprefix("/versions/").partition("/")
            path = slash + rest
        route = self._routes.get((method, path.rstrip("/")))
        if route is None:
            known = any(path == there for _, there in self._routes)
            status = HTTPStatus.METHOD_NOT_ALLOWED if known else HTTPStatus.NOT_FOUND
            raise Refusal(status, f"{status.phrase}: {method} {scope['path']}")
        if path != "/ready":
            self._server.admit(header(scope, b"authorization"))
        if version:
            self._server.check_version(version, model_id(scope["headers"]))
        return await route(scope, receive)

    async def _metadata(self, scope: Scope, _receive: Receive) -> Answer:
        return await self._server.metadata(model_id(scope["headers"]))

    async def _ready(self, scope: Scope, _receive: Receive) -> Answer:
        return Answer(HTTPStatus.OK, self._server.ready(model_id(scope["headers"])))

    async def _infer(self, scope: Scope, receive: Receive) -> Answer:
        body = await read_body(receive, self._server.max_body_bytes)
        length = header(scope, _JSON_LENGTH)
        if length and not length.isdecimal():
            raise Refusal(HTTPStatus.BAD_REQUEST, f"the header {JSON_LENGTH_HEADER} must be a number; got {length!r}")
        if encoding := header(scope, b"content-encoding"):
            message = f"send the body as it is; got the content encoding {encoding}"
            raise Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, message)
        headers = tuple(scope["headers"])
        return await self._server.answer(Question(Wire.REST, body, int(length) if length else None, headers))


async def read_body(receive: Receive, limit: int) -> bytes:
    """Read a body; one of more than `limit` bytes is read to its end and let go, so that the refusal is heard.

    Raises:
        Refusal: it is too large, or broke off.
    """
    chunks: list[bytes] = []
    length = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refusal(HTTPStatus.BAD_REQUEST, "the body broke off: send it again")
        chunk = message.get("body", b"")
        length += len(chunk)
        if length <= limit:
            chunks.append(chunk)
        else:
            chunks.clear()
        if not message.get("more_body", False):
            break
    if length > limit:
        told = f"the body has {length} bytes; at most {limit} are taken"
        raise Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, told)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def header(scope: Scope, name: bytes) -> str:
    """Give a request's header, empty where it is not there."""
    return next((value.decode("latin-1") for known, value in scope["headers"] if known == name), "")
