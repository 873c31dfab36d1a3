"""What stands before a language model's own routes: tokens, limits and who answered. The routes are the engine's.

POST /llm/{deployment}/v1/chat/completions, /v1/completions, ...    GET /llm/{deployment}/v1/models

What else the engine's application has (its administration, its metrics) is not let through. Errors have OpenAI's form.
"""

import asyncio
from http import HTTPStatus
from typing import Protocol

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.exchange import Headers, Refusal
from serve.http import header, read_body


class Server(Protocol):
    """What the door needs to know of a replica."""

    max_body_bytes: int
    timeout_seconds: float
    headers: Headers
    """They say who answered."""

    def admit(self, authorization: str) -> None:
        """Raise Refusal for a caller without a known token."""
        ...


class OpenAiDoor:
    """The door, as an ASGI application below the deployment's prefix."""

    def __init__(self, engine: ASGIApp, server: Server) -> None:
        self._engine = engine
        self._server = server

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "lifespan":
            await self._engine(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        try:
            await self._served(scope, receive, send)
        except Refusal as refusal:
            await self._refuse(refusal, send)

    async def _served(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not scope["path"].removeprefix(scope.get("root_path", "")).startswith("/v1/"):
            message = f"Not Found: {scope['method']} {scope['path']}: OpenAI's routes begin with /v1/"
            raise Refusal(HTTPStatus.NOT_FOUND, message)
        self._server.admit(header(scope, b"authorization"))
        body: bytes | None = await read_body(receive, self._server.max_body_bytes)

        async def replayed() -> Message:
            nonlocal body
            if body is None:
                return await receive()  # the client's going, which ends the generation
            read, body = body, None
            return {"type": "http.request", "body": read}

        seconds = self._server.timeout_seconds
        try:
            async with asyncio.timeout(seconds) as limit:

                async def signed(message: Message) -> None:
                    if message["type"] == "http.response.start":
                        limit.reschedule(None)  # a stream may last
                        message = {**message, "headers": [*message["headers"], *self._server.headers]}
                    await send(message)

                await self._engine(scope, replayed, signed)
        except TimeoutError:
            if not limit.expired():
                raise
            raise Refusal(HTTPStatus.GATEWAY_TIMEOUT, f"the model took longer than {seconds:g} s") from None

    async def _refuse(self, refusal: Refusal, send: Send) -> None:
        kind = "invalid_request_error" if refusal.status < HTTPStatus.INTERNAL_SERVER_ERROR else "server_error"
        told = {"message": str(refusal), "type": kind, "param": None, "code": int(refusal.status)}
        body = orjson.dumps({"error": told})
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        if refusal.status is HTTPStatus.UNAUTHORIZED:
            headers.append((b"www-authenticate", b"Bearer"))
        start = {"type": "http.response.start", "status": int(refusal.status)}
        await send({**start, "headers": [*headers, *self._server.headers]})
        await send({"type": "http.response.body", "body": body})
