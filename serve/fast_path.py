"""The short way through a replica: from its HTTP server straight to the model's routes.

Serve puts some 300 microseconds of its own around a request that reaches a replica directly: a task for the request and
one for a disconnect, a semaphore, an access log line, a dozen metrics. This middleware leaves out all but what Serve's
decisions rest on, the number of ongoing requests, by which it scales and drains; requests are counted where they come
in, by HAProxy. An answer leaves in one write, head and body: uvicorn's two cost a call of the system more here, and
another in HAProxy. `RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH=serve.fast_path:middlewares` puts it in. Where Serve or
uvicorn are built in another way than this expects, everything goes their own way.
"""

from typing import Any

from ray.serve._private.common import RequestMetadata, RequestProtocol
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from serve.http import HttpDoor


def middlewares() -> list[Middleware]:
    """Give what Serve puts around the HTTP server of every proxy and replica."""
    return [Middleware(FastPath)]


class FastPath:
    """Lets requests for a model past Serve; health checks, and all other applications, go Serve's way."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap what Serve built: of a replica, its own ASGI method within a middleware."""
        self._app = app
        self._replica: Any = getattr(getattr(app, "_app", None), "__self__", None)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        door = getattr(self._replica, "_user_callable_asgi_app", None)
        if scope["type"] != "http" or not isinstance(door, HttpDoor) or not self._is_for_model(scope):
            await self._app(scope, receive, send)
            return
        scope["root_path"] += self._replica._route_prefix
        metrics = self._replica._metrics_manager
        metrics.inc_num_ongoing_requests(_METADATA)
        try:
            await door(scope, receive, _in_one_write(scope, send))
        finally:
            metrics.dec_num_ongoing_requests(_METADATA)

    def _is_for_model(self, scope: Scope) -> bool:
        # The model lives on the replica's own event loop only where Serve does not give it a thread.
        on_this_loop = not self._replica._user_callable_wrapper._run_user_code_in_separate_thread
        return on_this_loop and scope["path"].startswith(scope["root_path"] + self._replica._route_prefix)


def _in_one_write(scope: Scope, send: Send) -> Send:
    """Give a `send` for an answer that is whole: a head, and then all of its body."""
    cycle = getattr(send, "__self__", None)
    if not _IS_KNOWN or not isinstance(cycle, RequestResponseCycle) or scope["method"] == "HEAD":
        return send
    head: Message = {}

    async def whole(message: Message) -> None:
        """Do what uvicorn's own `send` does, where nothing is special."""
        nonlocal head
        if message["type"] == "http.response.start":
            head = message
        elif cycle.disconnected or not cycle.keep_alive or cycle.flow.write_paused:
            await send(head)
            await send(message)
        else:
            lines = [STATUS_LINE[head["status"]]]
            for name, value in (*cycle.default_headers, *head["headers"]):
                lines += (name, b": ", value, b"\r\n")
            cycle.transport.write(b"".join((*lines, b"\r\n", message["body"])))
            cycle.response_started = cycle.response_complete = True
            cycle.message_event.set()
            cycle.on_response()

    return whole


_USED = (
    "transport flow default_headers message_event on_response disconnected keep_alive "
    "response_started response_complete"
)
_IS_KNOWN = set(RequestResponseCycle.__init__.__code__.co_names).issuperset(_USED.split())
"""Whether uvicorn's side of a request is what `whole` takes it for."""

_METADATA = RequestMetadata(
    request_id="", internal_request_id="", _request_protocol=RequestProtocol.HTTP, is_direct_ingress=True
)
