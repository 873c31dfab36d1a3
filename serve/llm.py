"""A language model of the registry behind OpenAI's routes: the engine and its loading are `ray.serve.llm`'s.

`ray.serve.llm.build_openai_app` makes a deployment for the routes and one for the engine, a hop between them, and asks
nobody for a token. Here one replica holds Ray's `LLMServer`, and in it vLLM, and serves vLLM's own ASGI application, as
Ray's direct streaming does. Tokens, versions and promotion are those of every deployment.

Only replicas import vLLM, which is large: `pip install 'slipway[llm]'` where they run. The tests run it by a vLLM for
CPUs; how it is placed on GPUs they see as it is rendered.
"""

import shutil
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

from platform_app.specs import DeploymentSpec, ServedModel
from serve.callers import Callers
from serve.exchange import Answer, Headers, Question, lineage
from serve.model import ModelDoesNotLoad, fetch
from serve.openai_door import OpenAiDoor


async def start_engine(served: ServedModel, folder: str) -> Any:
    """Fetch a version from MLflow into a folder, and give Ray's `LLMServer` once its engine runs with it."""
    try:
        from ray.serve.llm import LLMConfig, LLMServer
    except ImportError as error:
        raise ImportError(f"install 'slipway[llm]' where replicas run, which brings vLLM ({error})") from error
    server = LLMServer.sync_init(LLMConfig(**engine_config(served, Path(fetch(served, folder)))))
    await server.start()
    return server


class LanguageModelServer:
    """One replica: an engine with a version of a language model."""

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self, served: ServedModel, start: Callable[[ServedModel, str], Awaitable[Any]] = start_engine
    ) -> None:
        """Start the engine.

        Args:
            served: what it serves.
            start: gives Ray's `LLMServer`, with files in the folder given.

        Raises:
            ModelDoesNotLoad: vLLM is not installed, it holds no checkpoint, or the engine does not take it.
        """
        self._deployment = served.deployment
        self._version = str(served.version)
        self._callers = Callers()
        self.headers: Headers = ()
        self.max_body_bytes = int(served.spec.max_body_mib * 2**20)
        self.timeout_seconds = served.spec.request_timeout_seconds
        self._folder = tempfile.mkdtemp(prefix="slipway-model-")
        try:
            self._server = await start(served, self._folder)
        except Exception as cause:
            shutil.rmtree(self._folder, ignore_errors=True)
            reason = " ".join(f"{type(cause).__name__}: {cause}".split())
            raise ModelDoesNotLoad(f"{served.spec.model} version {served.version} does not load: {reason}") from cause

    def __del__(self) -> None:
        """Delete the files fetched; the engine's processes end with this one."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def reconfigure(self, user_config: Mapping[str, Any]) -> None:
        """Take what may change while it answers; Serve calls it at the start and then.

        Args:
            user_config: `token_digests` of those who may ask, and the `revision` that it is.
        """
        self._callers = Callers(user_config["token_digests"])
        self.headers = lineage(self._deployment, self._version, user_config["revision"])

    async def __serve_build_asgi_app__(self) -> OpenAiDoor:
        """Give the routes; Serve calls it once the engine runs."""
        return OpenAiDoor(await self._server.__serve_build_asgi_app__(), self)

    async def check_health(self) -> None:
        """Raise where the engine is dead: Serve starts another replica."""
        await self._server.check_health()

    def admit(self, authorization: str) -> None:
        """Raise Refusal for a caller without a known token."""
        self._callers.admit(authorization)

    async def ask(self, _question: Question, _version: str = "") -> Answer:
        """Say where a language model is asked; so do `answer` and `describe`, which other doors call."""
        message = f"{self._deployment} is a language model: POST /llm/{self._deployment}/v1/chat/completions"
        return Answer(HTTPStatus.BAD_REQUEST, error=message, headers=self.headers)

    answer = ask
    describe = ask


def engine_config(served: ServedModel, fetched: Path) -> dict[str, Any]:
    """Render a served model as the fields of Ray's `LLMConfig`.

    Args:
        served: the model; its deployment's name is the `model` that callers send.
        fetched: what the registry holds of it: a checkpoint of Hugging Face's form, by itself or as
            `mlflow.transformers` keeps it.

    Raises:
        ModelDoesNotLoad: there is no such checkpoint.
    """
    spec = served.spec
    checkpoint = next((there for there in (fetched, fetched / "model") if (there / "config.json").is_file()), None)
    if checkpoint is None:
        raise ModelDoesNotLoad("no config.json: log it with mlflow.transformers, or register a folder of a checkpoint")
    kwargs = dict(spec.llm.engine_kwargs) if spec.llm else {}
    tokenizer = fetched / "components" / "tokenizer"
    if tokenizer.is_dir():
        kwargs.setdefault("tokenizer", str(tokenizer))
    places = bundles(spec)
    return {
        "model_loading_config": {"model_id": served.deployment, "model_source": str(checkpoint)},
        "engine_kwargs": {**kwargs, "tensor_parallel_size": len(places)},
        "accelerator_config": {"kind": "gpu" if spec.gpus_per_replica else "cpu"},
        "placement_group_config": {"bundles": places, "strategy": STRATEGY},
    }


STRATEGY = "STRICT_PACK"
"""Of a replica's placement group: the files of the model are fetched to one node."""


def bundles(spec: DeploymentSpec) -> list[dict[str, float]]:
    """Say what a replica's placement group holds: one bundle for each GPU, the replica itself in the first."""
    gpus = spec.gpus_per_replica
    if not gpus:
        return [{"CPU": spec.cpus_per_replica}]
    return [{"CPU": spec.cpus_per_replica, "GPU": min(gpus, 1.0)}, *({"GPU": 1.0} for _ in range(1, int(gpus)))]
