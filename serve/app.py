"""A model as a Ray Serve application that answers the Open Inference Protocol v2: one version, or two during a rollout.

Every door, HTTP, gRPC or another replica, asks `ModelServer.answer` with a `Question` of bytes and gets an `Answer`.

`build` is a typed builder, so a model is also served without the platform: by Serve's own configuration file, with
`import_path: serve.app:build`, `route_prefix: /v2/models/{deployment}` and a `ServedModel` as `args`. A language model
is served by `serve.llm` instead, as an application of the same kind.
"""

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from http import HTTPStatus
from importlib.metadata import version as installed_version
from time import perf_counter
from typing import Any

from ray import serve as ray_serve

from platform_app.specs import ON_NO_GPU_NODE, DeploymentSpec, ServedModel, Split
from serve import grpc_wire, llm, rest, rows
from serve.batching import Overdue
from serve.callers import Callers
from serve.exchange import Answer, Headers, Question, Refusal, Wire, lineage
from serve.graph import load_served
from serve.http import HttpDoor
from serve.model import LoadedModel
from serve.multiplexed import Cached, Multiplexed, by_ray
from serve.protocol import InferenceRequest, ModelMetadata, ProtocolError, check, check_outputs
from serve.resident import Resident
from serve.rollout import Splitter, candidate_deployment
from serve.tallies import reporter
from serve.trial import candidate_asker, score_of

_log = logging.getLogger("ray.serve")

DEPLOYMENT_NAME = "model"
"""Of the application's Serve deployment that has the doors: the stable version."""

APPLICATION_PREFIX = "model-"
"""Of the names of deployments' applications; no other application has it."""


class ModelServer:
    """One replica: a loaded model, and others that are loaded when asked for, all through `answer` by every door.

    Calls of the model run one after the other, so that models need not be thread-safe and torch's threads are not
    oversubscribed; requests that wait share a call. More at once is what replicas are for.
    """

    def __init__(
        self,
        served: ServedModel,
        load: Callable[[ServedModel], LoadedModel] = load_served,
        _candidate: object = None,  # binds the candidate into the application; its handle is got when there is a split
        cached: Cached = by_ray,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        self._deployment = served.deployment
        self._revision = served.revision
        self._headers: Headers = ()
        self._callers = Callers()
        self._timeout = served.spec.request_timeout_seconds
        self.max_body_bytes = int(served.spec.max_body_mib * 2**20)
        # A version that does not load, or fails on its own example, fails here: Serve never sends it a request.
        self._own = Resident(served, load, clock)
        self._others = Multiplexed(served, load, cached, clock)
        self._splitter = Splitter(candidate_asker, reporter(self._deployment))

    def __del__(self) -> None:
        """Serve calls it when the replica stops, after the last answer."""
        if hasattr(self, "_others"):
            self._own.close()
            self._others.close()

    def reconfigure(self, user_config: Mapping[str, Any]) -> None:
        """Take what may change while it answers; Serve calls it at the start and then.

        Args:
            user_config: `token_digests` of those who may ask, the `revision` that it is, and the `split` with a
                candidate, if any.
        """
        self._callers = Callers(user_config["token_digests"])
        self._revision = user_config["revision"]
        self._headers = lineage(self._deployment, self._own.version, self._revision)
        split = user_config["split"]
        self._splitter.reconfigure(Split.model_validate(split) if split else None)

    async def check_health(self) -> None:
        """Raise where a model's call does not come back; Serve then starts another replica."""
        self._own.check_health()
        self._others.check_health()

    def __serve_build_asgi_app__(self) -> HttpDoor:
        """Give the routes; Serve calls it once the model is loaded."""
        return HttpDoor(self)

    async def answer(self, question: Question) -> Answer:
        """Answer a question that was let in, by the version whose it is: what every door calls."""
        if self._splitter.is_active and not question.model_id:
            return await self._splitter.answer(question, self.answer_counted)
        return await self.answer_here(question)

    async def answer_here(self, question: Question, scores: list[float | None] | None = None) -> Answer:
        """Answer by this replica's own version; where `scores` are wanted, the prediction's score is added to them."""
        return await self._answered(question.model_id, lambda asked: self._predict(question, asked, scores))

    async def _answered(self, name: str, ask: Callable[[Resident], Awaitable[tuple[bytes, int | None]]]) -> Answer:
        """Answer by the deployment's own model, or by the other that is named, with the headers that say which."""
        signed = self._headers
        try:
            if name:
                async with asyncio.timeout(self._timeout):
                    asked = await self._others.get(name)
                    signed = lineage(self._deployment, asked.version, self._revision, name)
                    body, json_length = await ask(asked)
            else:
                body, json_length = await ask(self._own)
            return Answer(HTTPStatus.OK, body, json_length, headers=signed)
        except Refusal as refusal:
            return Answer(refusal.status, error=str(refusal), headers=signed)
        except ProtocolError as error:
            return Answer(HTTPStatus.BAD_REQUEST, error=str(error), headers=signed)
        except (Overdue, TimeoutError):
            message = f"the model took longer than {self._timeout:g} s"
            return Answer(HTTPStatus.GATEWAY_TIMEOUT, error=message, headers=signed)

    async def answer_counted(self, question: Question) -> Answer:
        """Answer by this replica's own version, with what a rollout compares: what a splitter calls, here or afar."""
        scores: list[float | None] = []
        started = perf_counter()
        answer = await self.answer_here(question, scores)
        return replace(answer, seconds=perf_counter() - started, score=scores[0] if scores else None)

    async def _predict(
        self, question: Question, asked: Resident, scores: list[float | None] | None
    ) -> tuple[bytes, int | None]:
        metadata = asked.metadata
        request = _decode(question, metadata)
        check(request.inputs, metadata.inputs)
        if metadata.outputs:
            check_outputs(request.outputs, [output.name for output in metadata.outputs])
        try:
            outputs = await asked.predict(request.inputs)
            if scores is not None:
                scores.append(score_of(outputs))
            match question.wire:
                case Wire.REST:
                    return rest.encode(request, self._deployment, asked.version, outputs)
                case Wire.GRPC:
                    return grpc_wire.encode(request, self._deployment, asked.version, outputs), None
                case Wire.ROWS:
                    return rows.encode(outputs, self._deployment, asked.version), None
        except Overdue:
            raise
        except Exception as error:
            _log.exception("%s: %s version %s failed to predict", self._deployment, asked.name, asked.version)
            message = f"the model failed: {type(error).__name__}: {error}"
            raise Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, message) from error

    async def ask(self, question: Question, version: str = "") -> Answer:
        """Answer a question that no door has let in yet, by its token: what the gRPC door calls.

        Args:
            question: its headers have the token.
            version: the version that is asked for; empty: the one that is served.
        """
        if refused := self._refused(question, version):
            return refused
        if len(question.body) > self.max_body_bytes:
            message = f"the body has {len(question.body)} bytes; at most {self.max_body_bytes} are taken"
            return Answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, error=message)
        return await self.answer(question)

    async def describe(self, question: Question, version: str = "") -> Answer:
        """Describe the model as a serialized `ModelMetadataResponse`, to whom the token lets in."""
        refused = self._refused(question, version)
        return refused or await self._described(question.model_id, grpc_wire.model_metadata)

    async def _described(self, name: str, write: Callable[[ModelMetadata], bytes]) -> Answer:
        async def told(asked: Resident) -> tuple[bytes, None]:
            return write(asked.metadata), None

        return await self._answered(name, told)

    def _refused(self, question: Question, version: str) -> Answer | None:
        try:
            self.admit(question.header(b"authorization"))
            if version:
                self.check_version(version, question.model_id)
        except Refusal as refusal:
            return Answer(refusal.status, error=str(refusal))
        return None

    def admit(self, authorization: str) -> None:
        """Raise Refusal for a caller without a known token."""
        self._callers.admit(authorization)

    def check_version(self, version: str, name: str) -> None:
        """Raise Refusal for a version that is not served, of the model of that name; empty: of the deployment's own."""
        served = self._others.version(name) if name else self._own.version
        if version != served:
            message = f"{self._deployment} serves version {served}{name and f' of {name}'}; got version {version}"
            raise Refusal(HTTPStatus.NOT_FOUND, message)

    async def metadata(self, name: str) -> Answer:
        """Describe a model, as JSON."""
        return await self._described(name, lambda metadata: metadata.model_dump_json().encode())

    def ready(self, name: str) -> bytes:
        """Say that a model answers, as JSON; one that is not in memory yet does, a little later."""
        if name:
            self._others.version(name)
        return rest.write_json({"name": self._deployment, "ready": True}, ())

    def signed(self, answer: Answer) -> Headers:
        """Give the headers that say who answered: of a version's answer, that version's."""
        return answer.headers or self._headers


def _decode(question: Question, metadata: ModelMetadata) -> InferenceRequest:
    match question.wire:
        case Wire.REST:
            return rest.decode(question.body, question.json_length)
        case Wire.GRPC:
            return grpc_wire.decode(question.body)
        case Wire.ROWS:
            return rows.decode(question.body, metadata.inputs)


def build(model: ServedModel) -> ray_serve.Application:
    """Render a served model as a Serve application: the stable version, and beside it a candidate where there is one.

    What a stable replica does with a candidate comes by its user config: neither its coming nor its going, nor its
    share, restarts a stable replica.
    """
    config = {"revision": model.revision, "split": model.split and model.split.model_dump(mode="json")}
    server = llm.LanguageModelServer if model.spec.llm else ModelServer
    stable = _deployment(DEPLOYMENT_NAME, ray_serve.ingress()(server), model, config)
    tried = model.candidate
    if tried is None:
        return stable.bind(_pinned(model, model.version))
    name, spec = candidate_deployment(tried.revision), model.spec
    # One that had gone to zero would be late with its share, and be blamed for it.
    spec = spec.model_copy(update={"min_replicas": max(1, spec.min_replicas)})
    candidate = _pinned(model.model_copy(update={"spec": spec, "champion": model.version}), tried.version)
    app = _deployment(name, ModelServer, candidate, {"revision": tried.revision, "split": None}).bind(candidate)
    return stable.bind(_pinned(model, model.version), _candidate=app)


def _pinned(model: ServedModel, version: int) -> ServedModel:
    """Give what one replica is made of: a version, without what may change while it answers."""
    return model.model_copy(
        update={"version": version, "token_digests": (), "revision": 1, "candidate": None, "split": None}
    )


def _deployment(name: str, server: Callable[..., Any], model: ServedModel, config: dict[str, Any]) -> Any:
    """Render one version as a Serve deployment."""
    spec = model.spec
    deployment = ray_serve.deployment(
        name=name,
        **_placement(spec),
        user_config={"token_digests": list(model.token_digests), **config},
        autoscaling_config=_autoscaling(model),
        # The default of 5 would make callers wait in the proxy where the autoscaler counts them late.
        max_ongoing_requests=max(64, int(4 * spec.target_ongoing_requests)),
        # The new version first, then the old goes: no request is dropped or waits.
        max_surge_percent=100,
        graceful_shutdown_timeout_s=20,
        health_check_period_s=5,
    )(server)
    # Serve restarts replicas when this changes; by default it is random, and every apply would restart them.
    return deployment.options(version=_code_version(model), _internal=True)


def nodes(spec: DeploymentSpec) -> dict[str, str]:
    """Give the label selector of nodes that a replica may be on: on spot it would have to move for training."""
    return {"ray.io/market-type": "!spot"} | ({} if spec.gpus_per_replica else ON_NO_GPU_NODE)


def _placement(spec: DeploymentSpec) -> dict[str, Any]:
    """Say what one replica holds, and where it may be: of a language model, with the workers of its engine."""
    if spec.llm is None:
        actor = {"num_cpus": spec.cpus_per_replica, "num_gpus": spec.gpus_per_replica}
        return {"ray_actor_options": {**actor, "label_selector": nodes(spec)}}
    held = llm.bundles(spec)
    return {
        "ray_actor_options": {"num_cpus": spec.cpus_per_replica},
        "placement_group_bundles": held,
        "placement_group_strategy": llm.STRATEGY,
        "placement_group_bundle_label_selector": [nodes(spec)] * len(held),
    }


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
    built_from = {"model", "graph", "multiplexed", "llm", "batching", "request_timeout_seconds", "max_body_mib"}
    spec = model.spec.model_dump_json(include=built_from)
    parts = (installed_version("slipway"), model.deployment, spec, str(model.version), model.tracking_uri)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
