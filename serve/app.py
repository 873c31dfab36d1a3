"""One model version as a Ray Serve application that answers the Open Inference Protocol v2.

`build` is a typed builder, so a model is also served without the platform: by Serve's own configuration file, with
`import_path: serve.app:build`, `route_prefix: /v2/models/{deployment}` and a `ServedModel` as `args`.
"""

import asyncio
import hashlib
import hmac
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from importlib.metadata import version as installed_version

import pydantic_core
from fastapi import FastAPI, Request, Response
from ray import serve as ray_serve
from starlette.exceptions import HTTPException

from platform_app.specs import ServedModel
from serve import protocol
from serve.model import LoadedModel, load_model

_log = logging.getLogger("ray.serve")

Answer = Callable[[Request], Awaitable[bytes]]

DEPLOYMENT_NAME = "model"
"""Of the application's one Serve deployment."""


class _Refusal(Exception):
    """An answer that is not a success."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        self.status = status
        super().__init__(message)


class ModelServer:
    """One replica: a loaded model behind the protocol's routes.

    Predictions run one after the other in a thread of their own: the event loop stays free to answer `ready`, torch's
    threads are not oversubscribed, and models need not be thread-safe. More at once is what replicas are for.
    """

    def __init__(self, served: ServedModel, load: Callable[[ServedModel], LoadedModel] = load_model) -> None:
        self._deployment = served.deployment
        self._version = str(served.version)
        self._headers = {"slipway-deployment": self._deployment, "slipway-model-version": self._version}
        self._token_digests: tuple[str, ...] = ()
        # A version that does not load fails here, so Serve never sends it a request.
        self._model = load(served)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="predict")

    def __del__(self) -> None:
        """Serve calls it when the replica stops, after the last answer."""
        if hasattr(self, "_model"):
            self._model.close()

    def reconfigure(self, user_config: Mapping[str, Sequence[str]]) -> None:
        """Take the digests of the tokens that may ask; Serve calls it at the start and when they change."""
        self._token_digests = tuple(user_config["token_digests"])

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Give the routes, relative to the application's prefix; Serve calls it once the model is loaded."""
        app = FastAPI(openapi_url=None)
        for prefix in ("", "/versions/{version}"):
            app.add_api_route(prefix, self._endpoint(self._metadata), methods=["GET"])
            app.add_api_route(f"{prefix}/infer", self._endpoint(self._infer), methods=["POST"])
            # Open, as load balancers and probes expect.
            app.add_api_route(f"{prefix}/ready", self._endpoint(self._ready, is_open=True), methods=["GET"])
        app.add_exception_handler(HTTPException, self._no_such_route)
        return app

    def _endpoint(self, answer: Answer, is_open: bool = False) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            try:
                if not is_open:
                    self._authenticate(request)
                self._check_version(request)
                return self._response(HTTPStatus.OK, await answer(request))
            except _Refusal as refusal:
                return self._error(refusal.status, str(refusal))
            except protocol.ProtocolError as error:
                return self._error(HTTPStatus.BAD_REQUEST, str(error))

        return endpoint

    def _authenticate(self, request: Request) -> None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        given = hashlib.sha256(token.strip().encode()).hexdigest()
        # All are compared, so that the time taken tells nothing.
        known = [hmac.compare_digest(given, digest) for digest in self._token_digests]
        if scheme.lower() != "bearer" or not any(known):
            raise _Refusal(HTTPStatus.UNAUTHORIZED, "send an API token of the platform: Authorization: Bearer TOKEN")

    def _check_version(self, request: Request) -> None:
        wanted = request.path_params.get("version", self._version)
        if wanted != self._version:
            raise _Refusal(
                HTTPStatus.NOT_FOUND, f"{self._deployment} serves version {self._version}; got version {wanted}"
            )

    async def _ready(self, _request: Request) -> bytes:
        return pydantic_core.to_json({"name": self._deployment, "ready": True})

    async def _metadata(self, _request: Request) -> bytes:
        return self._model.metadata.model_dump_json().encode()

    async def _infer(self, request: Request) -> bytes:
        body = await request.body()
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._predict, body)

    def _predict(self, body: bytes) -> bytes:
        request = protocol.parse(body)
        inputs = protocol.decode(request)
        metadata = self._model.metadata
        protocol.check(inputs, metadata.inputs)
        if metadata.outputs:
            protocol.check_outputs(request.outputs, [output.name for output in metadata.outputs])
        try:
            outputs = self._model.predict(inputs)
            return protocol.inference_response(request, self._deployment, self._version, outputs)
        except Exception as error:
            _log.exception("%s version %s failed to predict", self._deployment, self._version)
            raise _Refusal(
                HTTPStatus.INTERNAL_SERVER_ERROR, f"the model failed: {type(error).__name__}: {error}"
            ) from error

    async def _no_such_route(self, request: Request, error: Exception) -> Response:
        status = HTTPStatus(error.status_code) if isinstance(error, HTTPException) else HTTPStatus.NOT_FOUND
        return self._error(status, f"{status.phrase}: {request.method} {request.url.path}")

    def _response(self, status: HTTPStatus, body: bytes) -> Response:
        return Response(body, status, self._headers, "application/json")

    def _error(self, status: HTTPStatus, message: str) -> Response:
        response = self._response(status, protocol.error_response(message))
        if status is HTTPStatus.UNAUTHORIZED:
            response.headers["www-authenticate"] = "Bearer"
        return response


def route_prefix(deployment: str) -> str:
    """Name the path under which a deployment answers."""
    return f"/v2/models/{deployment}"


def build(model: ServedModel) -> ray_serve.Application:
    """Render a served model as a Serve application of one deployment."""
    spec = model.spec
    actor_options: dict[str, object] = {
        "num_cpus": spec.cpus_per_replica,
        "num_gpus": spec.gpus_per_replica,
        # Serving is not moved for training: any worker but a spot one. A Ray without such labels fits too.
        "label_selector": {"ray.io/market-type": "!spot"},
    }
    server = ray_serve.deployment(
        name=DEPLOYMENT_NAME,
        ray_actor_options=actor_options,
        user_config={"token_digests": list(model.token_digests)},
        autoscaling_config=_autoscaling(model),
        # The default of 5 would make callers wait in the proxy where the autoscaler counts them late.
        max_ongoing_requests=max(64, int(4 * spec.target_ongoing_requests)),
        # The new version first, then the old goes: no request is dropped or waits.
        max_surge_percent=100,
        graceful_shutdown_timeout_s=20,
        health_check_period_s=5,
    )(ray_serve.ingress()(ModelServer))
    # Serve restarts replicas when this changes; by default it is random, and every apply would restart them.
    server = server.options(version=_code_version(model), _internal=True)
    return server.bind(model.model_copy(update={"token_digests": ()}))


def _autoscaling(model: ServedModel) -> dict[str, object]:
    spec = model.spec
    return {
        "min_replicas": spec.min_replicas,
        "max_replicas": spec.max_replicas,
        # A version is proved by starting once, also where nobody asks. Otherwise a new version keeps as many replicas
        # as the old one had.
        "initial_replicas": None if spec.min_replicas else 1,
        "target_ongoing_requests": spec.target_ongoing_requests,
        "look_back_period_s": 15,
        "upscale_delay_s": 5,
        "downscale_delay_s": spec.scale_down_delay_seconds,
        "downscale_to_zero_delay_s": spec.scale_down_delay_seconds,
    }


def _code_version(model: ServedModel) -> str:
    """Name what a replica runs: all that it is built from, but not how many there are or who may ask."""
    parts = (installed_version("slipway"), model.deployment, model.spec.model, str(model.version), model.tracking_uri)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
