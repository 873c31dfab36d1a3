"""A language model as a Serve application, and as what Ray's engine is told; vLLM itself is not needed here."""

import asyncio
import sys

import pytest
from pydantic import ValidationError
from ray.llm._internal.serve.core.configs.llm_config import LLMConfig

from platform_app.specs import DeploymentSpec, route_prefix
from serve.app import build
from serve.exchange import Question, Wire
from serve.llm import LanguageModelServer, bundles, engine_config
from serve.model import ModelDoesNotLoad
from tests.unit.serve.sum_model import SERVED, TOKEN


def spec(**fields):
    return DeploymentSpec(**{"model": "mlp", "llm": {}, **fields})


def served(**fields):
    return SERVED.model_copy(update={"spec": spec(**fields)})


@pytest.fixture
def checkpoint(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    return tmp_path


def test_rays_own_config_takes_what_is_rendered(checkpoint):
    given = served(gpus_per_replica=2, llm={"engine_kwargs": {"max_model_len": 128}})
    config = LLMConfig(**engine_config(given, checkpoint))
    assert config.model_id == "digits"
    assert config.model_loading_config.model_source == str(checkpoint)
    assert config.engine_kwargs == {"max_model_len": 128, "tensor_parallel_size": 2}
    assert config.accelerator_config.kind == "gpu"


def test_without_gpus_the_engine_runs_on_cpus(checkpoint):
    assert LLMConfig(**engine_config(served(), checkpoint)).accelerator_config.kind == "cpu"


def test_a_model_as_mlflows_transformers_keeps_it_has_its_tokenizer_beside_it(tmp_path):
    for part in ("model", "components/tokenizer"):
        (tmp_path / part).mkdir(parents=True)
    (tmp_path / "model" / "config.json").write_text("{}")
    config = engine_config(served(), tmp_path)
    assert config["model_loading_config"]["model_source"] == str(tmp_path / "model")
    assert config["engine_kwargs"]["tokenizer"] == str(tmp_path / "components" / "tokenizer")


def test_a_version_without_a_checkpoint_is_told_what_is_expected(tmp_path):
    with pytest.raises(ModelDoesNotLoad, match=r"no config.json: log it with mlflow.transformers"):
        engine_config(served(), tmp_path)


@pytest.mark.parametrize(
    ("gpus", "held"),
    [
        (0, [{"CPU": 4}]),
        (0.5, [{"CPU": 4, "GPU": 0.5}]),
        (1, [{"CPU": 4, "GPU": 1}]),
        (3, [{"CPU": 4, "GPU": 1}, {"GPU": 1}, {"GPU": 1}]),
    ],
)
def test_a_replica_holds_a_bundle_for_each_gpu_and_sits_in_the_first(gpus, held):
    given = served(gpus_per_replica=gpus, cpus_per_replica=4)
    assert bundles(given.spec) == held
    config = build(given)._bound_deployment._replica_config
    assert config.placement_group_bundles == held
    assert config.placement_group_strategy == "STRICT_PACK"
    off = {"ray.io/market-type": "!spot"} | ({} if gpus else {"slipway.io/gpus": "!true"})
    assert config.placement_group_bundle_label_selector == [off] * len(held)
    assert config.ray_actor_options["num_cpus"] == 4
    assert not config.ray_actor_options.get("num_gpus")


def test_tokens_reach_replicas_by_configuration_and_another_engine_is_another_version():
    def options(**fields):
        return build(served(**fields))._bound_deployment

    assert options().user_config["token_digests"] == list(SERVED.token_digests)
    assert options().version != options(llm={"engine_kwargs": {"max_model_len": 64}}).version


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"graph": "model"}, "graph: a language model has none"),
        ({"rollout": {"strategy": "canary"}}, "rollout: a language model's is immediate"),
        ({"gpus_per_replica": 1.5}, "gpus_per_replica: expected a part of one or whole ones; got 1.5"),
        (
            {"llm": {"engine_kwargs": {"model": "x"}}},
            "model is not given here: the registered model's version is served",
        ),
        (
            {"llm": {"engine_kwargs": {"tensor_parallel_size": 2}}},
            "tensor_parallel_size is not given here: set gpus_per",
        ),
    ],
)
def test_what_does_not_fit_a_language_model_is_refused(fields, message):
    with pytest.raises(ValidationError) as refused:
        spec(**fields)
    assert message in str(refused.value)


def test_it_answers_below_a_path_of_its_own():
    assert route_prefix("chat", spec()) == "/llm/chat"
    assert route_prefix("chat", spec(llm=None)) == "/v2/models/chat"


def started(*arguments):
    """Start a replica as Serve does."""
    server = LanguageModelServer.__new__(LanguageModelServer)
    asyncio.run(server.__init__(*arguments))
    return server


def test_where_vllm_is_missing_the_deployment_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray.serve.llm", None)
    with pytest.raises(ModelDoesNotLoad, match=r"mlp version 3 does not load: ImportError: install 'slipway\[llm\]'"):
        started(served())


class DeadEngine:
    """Ray's `LLMServer`, as far as a replica asks it."""

    async def check_health(self):
        raise RuntimeError("the engine is dead")


@pytest.fixture
def replica():
    async def start(given, folder):
        return DeadEngine()

    server = started(served(), start)
    server.reconfigure({"token_digests": list(SERVED.token_digests), "revision": 4, "split": None})
    return server


def test_the_other_doors_say_where_a_language_model_is_asked(replica):
    for asked in (replica.ask(Question(Wire.GRPC, b""), "3"), replica.answer(Question(Wire.ROWS, b""))):
        answer = asyncio.run(asked)
        assert (answer.status, answer.error) == (
            400,
            "digits is a language model: POST /llm/digits/v1/chat/completions",
        )
        assert (b"slipway-revision", b"4") in answer.headers
    assert asyncio.run(replica.describe(f"Bearer {TOKEN}")).status == 400


def test_a_replica_is_as_healthy_as_its_engine(replica):
    with pytest.raises(RuntimeError, match="the engine is dead"):
        asyncio.run(replica.check_health())
