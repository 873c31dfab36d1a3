"""A language model on a real Ray Serve, by the real engine: what OpenAI's clients send is answered, to whom may ask.

The model is a few layers from a config, and its tokenizer is trained on what every Python has: nothing is downloaded.
It needs vLLM, which `slipway[llm]` brings; where there is no GPU, a vLLM that was built for CPUs.
"""

import hashlib
import json
import os

import httpx
import pytest

from platform_app.adapters.ray_serve import RayServing
from platform_app.specs import DeploymentSpec, ServedModel
from tests.serving_on_ray import mlflow_store, serving_cluster, settled

pytest.importorskip("vllm", reason="pip install 'slipway[llm]' brings vLLM")
pytestmark = [pytest.mark.ray, pytest.mark.long, pytest.mark.timeout(600)]

TOKEN = "secret-of-a-team"
ASKED = {"model": "chat", "max_tokens": 8, "temperature": 0}


def log_model():
    """Register a language model that is small and knows nothing, as MLflow keeps such models."""
    import mlflow.transformers
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    pieces = Tokenizer(models.BPE())
    pieces.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    pieces.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    pieces.train(
        [os.__file__], trainers.BpeTrainer(vocab_size=512, special_tokens=["<s>", "</s>"], initial_alphabet=alphabet)
    )
    template = "{% for message in messages %}{{ message.content }}\n{% endfor %}"
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=pieces, bos_token="<s>", eos_token="</s>", chat_template=template
    )
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=512,
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=256,
        bos_token_id=0,
        eos_token_id=1,
    )
    mlflow.transformers.log_model(
        {"model": LlamaForCausalLM(config), "tokenizer": tokenizer},
        name="model",
        task="text-generation",
        registered_model_name="tiny",
        pip_requirements=[],
    )


def served(uri, version=1, **spec):
    return ServedModel(
        deployment="chat",
        spec=DeploymentSpec(
            model="tiny",
            cpus_per_replica=1,
            llm={"engine_kwargs": {"max_model_len": 128, "enforce_eager": True, "dtype": "float32"}},
            **spec,
        ),
        version=version,
        tracking_uri=uri,
        token_digests=(hashlib.sha256(TOKEN.encode()).hexdigest(),),
    )


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    # vLLM on a CPU takes most of the memory for its cache, and binds its threads to cores, unless it is told otherwise.
    environment = {
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",
    }
    with pytest.MonkeyPatch.context() as patched:
        for name, value in environment.items():
            patched.setenv(name, value)
        uri = mlflow_store(tmp_path_factory.mktemp("mlflow"))
        log_model()
        with serving_cluster() as url:
            serving = RayServing()
            serving.apply(served(uri))
            found = settled(serving, "chat")
            assert found.ready, found.message
            headers = {"authorization": f"Bearer {TOKEN}"}
            with httpx.Client(base_url=f"{url}/llm/chat", headers=headers, timeout=120) as client:
                yield client, serving, uri


@pytest.fixture
def client(world):
    return world[0]


def test_the_deployment_is_the_one_model_that_there_is(client):
    (model,) = client.get("/v1/models").json()["data"]
    assert (model["id"], model["object"]) == ("chat", "model")


def test_a_completion_says_which_version_gave_it_and_is_the_same_again(client):
    first, second = (client.post("/v1/completions", json={**ASKED, "prompt": "import os"}) for _ in range(2))
    assert first.status_code == 200
    assert first.headers["slipway-model-version"] == "1"
    assert first.json()["usage"]["completion_tokens"] == 8
    assert first.json()["choices"][0]["text"] == second.json()["choices"][0]["text"] != ""


def test_a_stream_gives_the_same_text_in_parts(client):
    whole = client.post("/v1/completions", json={**ASKED, "prompt": "import os"}).json()["choices"][0]["text"]
    asked = {**ASKED, "prompt": "import os", "stream": True}
    with client.stream("POST", "/v1/completions", json=asked) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = [line.removeprefix("data: ") for line in answer.iter_lines() if line]
    assert events[-1] == "[DONE]"
    parts = [choice["text"] for event in events[:-1] for choice in json.loads(event)["choices"]]
    assert len(parts) > 1
    assert "".join(parts) == whole


def test_a_chat_is_answered(client):
    asked = {**ASKED, "messages": [{"role": "user", "content": "def main():"}]}
    message = client.post("/v1/chat/completions", json=asked).json()["choices"][0]["message"]
    assert message["role"] == "assistant"
    assert message["content"]


@pytest.mark.parametrize("header", ["", "Bearer wrong"])
def test_only_known_tokens_may_ask(client, header):
    answer = client.post("/v1/completions", json={**ASKED, "prompt": "a"}, headers={"authorization": header})
    assert answer.status_code == 401
    assert answer.json()["error"]["message"].startswith("send an API token")


@pytest.mark.parametrize(
    ("change", "status"),
    [({"model": "gpt"}, 404), ({"prompt": "a " * 1000}, 400), ({"max_tokens": "many"}, 400), ({"prompt": None}, 400)],
)
def test_what_the_engine_refuses_is_told_in_openais_form(client, change, status):
    answer = client.post("/v1/completions", json={**ASKED, "prompt": "a", **change})
    assert answer.status_code == status
    assert answer.json()["error"]["message"]


@pytest.mark.parametrize("path", ["/metrics", "/version", "/health", "/tokenize"])
def test_what_is_not_openais_is_not_there(client, path):
    assert client.get(path).status_code == 404


def test_a_version_that_does_not_load_changes_nothing_and_says_why(world):
    from mlflow import MlflowClient

    client, serving, uri = world
    MlflowClient().create_model_version("tiny", "file:///nowhere/model")
    serving.apply(served(uri, version=2))
    found = settled(serving, "chat")
    assert found.failed
    assert found.message.startswith("tiny version 2 does not load: ")
    answer = client.post("/v1/completions", json={**ASKED, "prompt": "a"})
    assert (answer.status_code, answer.headers["slipway-model-version"]) == (200, "1")
