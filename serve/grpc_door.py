"""The protocol over gRPC for all deployments at one port: `inference.GRPCInferenceService`.

A Serve deployment whose one replica listens by itself: Serve's own gRPC proxy finds an application by a metadata key
that no client of the protocol sends, and this one by `model_name`. It reads no tensors: a request goes on as it came to
a replica of the model, which also checks the token in the metadata `authorization`, and waits with it where the
deployment is scaled to zero.
"""

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from importlib.metadata import version as installed_version
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from ray import serve as ray_serve

from serve.deployments import Models
from serve.exchange import Answer, Question, Wire
from serve.grpc_messages import SERVICE, Addressed, message
from serve.protocol import EXTENSIONS

_CODES = {
    HTTPStatus.BAD_REQUEST: grpc.StatusCode.INVALID_ARGUMENT,
    HTTPStatus.UNAUTHORIZED: grpc.StatusCode.UNAUTHENTICATED,
    HTTPStatus.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: grpc.StatusCode.RESOURCE_EXHAUSTED,
    HTTPStatus.SERVICE_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT: grpc.StatusCode.DEADLINE_EXCEEDED,
}

_MESSAGE_BYTES = 1 << 30
"""Largest message that is taken; a deployment's own limit is checked where it is served."""


class InferenceService(grpc.GenericRpcHandler):
    """The six calls of the service, on serialized messages."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self._calls: Mapping[str, Callable[[bytes, Any], Awaitable[bytes]]] = {
            f"/{SERVICE}/{name}": call
            for name, call in {
                "ServerLive": self._server_live,
                "ServerReady": self._server_ready,
                "ServerMetadata": self._server_metadata,
                "ModelReady": self._model_ready,
                "ModelMetadata": self._model_metadata,
                "ModelInfer": self._model_infer,
            }.items()
        }

    def service(self, handler_call_details: Any) -> Any:
        """Find the call that a method names; gRPC calls it. None is answered by UNIMPLEMENTED."""
        call = self._calls.get(handler_call_details.method)
        return grpc.unary_unary_rpc_method_handler(call) if call else None

    async def _server_live(self, _request: bytes, _context: Any) -> bytes:
        return bytes(message("ServerLiveResponse")(live=True).SerializeToString())

    async def _server_ready(self, _request: bytes, _context: Any) -> bytes:
        return bytes(message("ServerReadyResponse")(ready=True).SerializeToString())

    async def _server_metadata(self, _request: bytes, _context: Any) -> bytes:
        told = message("ServerMetadataResponse")(
            name="slipway", version=installed_version("slipway"), extensions=EXTENSIONS
        )
        return bytes(told.SerializeToString())

    async def _model_ready(self, request: bytes, context: Any) -> bytes:
        asked = await _read(message("ModelReadyRequest"), request, context)
        ready = await self._models.is_ready(asked.name)
        return bytes(message("ModelReadyResponse")(ready=ready).SerializeToString())

    async def _model_metadata(self, request: bytes, context: Any) -> bytes:
        asked = await _read(message("ModelMetadataRequest"), request, context)
        question = Question(Wire.GRPC, b"", headers=_metadata(context))
        answer = await self._models.describe(asked.name, asked.version, question)
        return await _given(answer, context)

    async def _model_infer(self, request: bytes, context: Any) -> bytes:
        asked = await _read(Addressed, request, context)
        question = Question(Wire.GRPC, request, headers=_metadata(context))
        return await _given(await self._models.ask(asked.model_name, asked.model_version, question), context)


async def _read(kind: Any, request: bytes, context: Any) -> Any:
    try:
        return kind.FromString(request)
    except DecodeError as error:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"the message is none of this call: {error}")


def _metadata(context: Any) -> tuple[tuple[bytes, bytes], ...]:
    pairs = context.invocation_metadata() or ()
    return tuple((key.encode(), value if isinstance(value, bytes) else value.encode()) for key, value in pairs)


async def _given(answer: Answer, context: Any) -> bytes:
    """Send who answered as metadata, and the answer, or its error by gRPC's codes."""
    context.set_trailing_metadata([(key.decode(), value.decode()) for key, value in answer.headers])
    if answer.error:
        await context.abort(_CODES.get(answer.status, grpc.StatusCode.INTERNAL), answer.error)
    return answer.body


@ray_serve.deployment(
    name="grpc",
    num_replicas=1,
    ray_actor_options={"num_cpus": 0},
    health_check_period_s=5,
    graceful_shutdown_timeout_s=5,
)
class GrpcDoor:
    """Listens for gRPC, as long as its replica lives."""

    async def __init__(self, host: str, port: int) -> None:  # type: ignore[misc]  # Serve awaits it
        """Start to listen.

        Args:
            host: the address to listen at.
            port: the TCP port.
        """
        limits = [(f"grpc.max_{way}_message_length", _MESSAGE_BYTES) for way in ("receive", "send")]
        self._server = grpc.aio.server(options=limits)
        self._server.add_generic_rpc_handlers((InferenceService(Models()),))
        if not self._server.add_insecure_port(f"{host}:{port}"):
            raise RuntimeError(f"port {port} of {host} is taken")
        await self._server.start()

    async def __del__(self) -> None:
        """Serve calls it when the replica stops: calls under way get a few seconds."""
        await self._server.stop(grace=3)
