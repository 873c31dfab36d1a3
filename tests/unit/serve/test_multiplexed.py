"""Several models in one replica: who is asked, who is in memory, and what does not load."""

import asyncio
from collections import OrderedDict
from http import HTTPStatus

import pytest

from platform_app.specs import Candidate, MultiplexSpec, Split, Strategy
from serve.app import ModelServer, build
from serve.exchange import Answer, Question, Refusal, Wire, model_id
from serve.model import ModelDoesNotLoad
from serve.multiplexed import FORGIVEN_SECONDS, Multiplexed
from serve.rollout import Splitter
from tests.unit.serve.sum_model import ROWS, SERVED, TOKEN, HeldModel, SumModel
from tests.unit.serve.test_model_server import Client

MODELS = ({"model": "north", "version": 7}, {"model": "south", "version": 2}, {"model": "west", "version": 1})
MULTIPLEXED = MultiplexSpec(models=MODELS, max_num_models_per_replica=2)
SEVERAL = SERVED.model_copy(update={"spec": SERVED.spec.model_copy(update={"multiplexed": MULTIPLEXED})})
PLAIN = b'{"rows": [[1, 2]]}'


class Factor(SumModel):
    """Adds up each row, times a number."""

    def __init__(self, factor):
        self.factor = factor

    def predict(self, inputs):
        return {"sum": super().predict(inputs)["sum"] * self.factor}


class Registry:
    """Loads what is asked for, and knows in which order."""

    def __init__(self, **models):
        self.models = {"mlp": SumModel(), "north": Factor(10), "south": Factor(100), "west": Factor(1000)} | models
        self.loaded = []

    def load(self, served):
        self.loaded.append((served.spec.model, served.version))
        found = self.models[served.spec.model]
        if isinstance(found, Exception):
            raise found
        return found


def in_memory(load, most):
    """Keep what was asked last, as Ray Serve does: room is made before the next is loaded."""
    kept = OrderedDict()
    lock = asyncio.Lock()

    async def get(name):
        async with lock:
            if name not in kept:
                while len(kept) >= most:
                    kept.popitem(last=False)
                kept[name] = await load(name)
            kept.move_to_end(name)
            return kept[name]

    return get


def replica(registry, served=SEVERAL):
    server = ModelServer(served, load=registry.load, cached=in_memory)
    server.reconfigure({"token_digests": list(served.token_digests), "revision": 4, "split": None})
    return server


def asked(name, body=PLAIN):
    return Question(Wire.ROWS, body, headers=((b"serve_multiplexed_model_id", name.encode()),))


@pytest.mark.parametrize("header", ["serve_multiplexed_model_id", "serve-multiplexed-model-id"])
def test_a_header_says_which_model_answers_and_the_answer_which_it_was(header):
    client = Client(replica(Registry()))
    answer = client.post("/infer", json={"inputs": [ROWS]}, headers={header: "south"})
    assert answer.json()["outputs"][0]["data"] == [300.0, 700.0]
    assert (answer.json()["model_name"], answer.json()["model_version"]) == ("digits", "2")
    assert answer.headers["slipway-model"] == "south"
    assert (answer.headers["slipway-model-version"], answer.headers["slipway-revision"]) == ("2", "4")


def test_without_the_header_the_deployments_own_model_answers_and_no_other_is_loaded():
    registry = Registry()
    answer = Client(replica(registry)).post("/infer", json={"inputs": [ROWS]})
    assert answer.json()["outputs"][0]["data"] == [3.0, 7.0]
    assert answer.headers["slipway-model-version"] == "3"
    assert "slipway-model" not in answer.headers
    assert registry.loaded == [("mlp", 3)]


def test_each_model_describes_itself_and_has_its_own_version():
    client = Client(replica(Registry()))
    named = {"serve_multiplexed_model_id": "north"}
    assert client.get("/versions/7", headers=named).json()["inputs"][0]["name"] == "x"
    assert client.get("/versions/7/ready", headers=named).status_code == 200
    answer = client.get("/versions/3", headers=named)
    assert (answer.status_code, answer.json()) == (404, {"error": "digits serves version 7 of north; got version 3"})


@pytest.mark.parametrize(
    ("method", "path"), [("GET", ""), ("GET", "/ready"), ("POST", "/infer"), ("GET", "/versions/1")]
)
def test_a_model_that_is_not_there_is_not_found(method, path):
    headers = {"serve_multiplexed_model_id": "nort"}
    answer = Client(replica(Registry())).request(method, path, json={"inputs": [ROWS]}, headers=headers)
    assert answer.status_code == 404
    assert answer.json()["error"] == "digits has 3 models beside its own, such as north; got 'nort'"


def test_a_deployment_of_one_model_does_not_answer_for_another():
    headers = {"serve_multiplexed_model_id": "north"}
    answer = Client(replica(Registry(), SERVED)).post("/infer", json={"inputs": [ROWS]}, headers=headers)
    assert (answer.status_code, answer.json()) == (404, {"error": "digits has one model alone; got 'north'"})


def test_the_model_that_was_asked_longest_ago_makes_room_and_is_let_go():
    registry = Registry()

    async def play():
        server = replica(registry)
        for name in ("north", "south", "north", "west"):
            assert (await server.answer(asked(name))).status == 200
        assert [registry.models[name].closed for name in ("north", "south", "west")] == [False, True, False]
        await server.answer(asked("south"))
        del server
        assert all(model.closed for model in registry.models.values())

    asyncio.run(play())
    assert [name for name, _ in registry.loaded] == ["mlp", "north", "south", "west", "south"]


def test_a_model_that_must_go_still_answers_those_who_wait_for_it():
    held = HeldModel()
    registry = Registry(north=held)

    async def play():
        server = replica(registry)
        await server.answer(asked("north"))
        held.lets_go.clear()
        held.is_asked.clear()
        waiting = asyncio.ensure_future(server.answer(asked("north")))
        assert await asyncio.to_thread(held.is_asked.wait, 30)
        await server.answer(asked("south"))
        await server.answer(asked("west"))
        assert not held.closed
        held.lets_go.set()
        assert (await waiting).status == 200
        del waiting

    asyncio.run(play())
    assert held.closed


def test_a_model_that_does_not_load_says_why_and_costs_the_others_nothing_until_it_is_tried_again():
    registry = Registry(south=ModelDoesNotLoad("south version 2 does not load: no such file"))
    now = [0.0]

    async def play():
        others = Multiplexed(SEVERAL, registry.load, in_memory, clock=lambda: now[0])
        for name in ("north", "west"):
            await others.get(name)
        with pytest.raises(Refusal, match="digits cannot ask south: south version 2 does not load") as refused:
            await asyncio.gather(*(others.get("south") for _ in range(5)))
        assert refused.value.status == 503
        await others.get("north")
        with pytest.raises(Refusal, match="no such file"):
            await others.get("south")
        assert [name for name, _ in registry.loaded] == ["north", "west", "south", "north"]
        now[0] = FORGIVEN_SECONDS
        registry.models["south"] = Factor(100)
        assert (await others.get("south")).version == "2"

    asyncio.run(play())


def test_a_model_that_fails_on_its_own_example_is_not_asked():
    class Broken(SumModel):
        example = {"x": "no numbers"}

    broken = Broken()

    async def play():
        return await replica(Registry(north=broken)).answer(asked("north"))

    answer = asyncio.run(play())
    assert (answer.status, broken.closed) == (503, True)
    assert "north: it fails on its own example" in answer.error


def test_who_gives_up_while_a_model_is_loaded_does_not_stop_it_from_being_loaded():
    held = HeldModel()
    held.lets_go.clear()
    registry = Registry(north=held)

    async def play():
        others = Multiplexed(SEVERAL, registry.load, in_memory)
        impatient = asyncio.ensure_future(others.get("north"))
        assert await asyncio.to_thread(held.is_asked.wait, 30)
        impatient.cancel()
        held.lets_go.set()
        assert (await others.get("north")).name == "north"
        assert impatient.cancelled()

    asyncio.run(play())
    assert registry.loaded == [("north", 7)]


def test_a_rollout_of_the_own_model_leaves_the_others_alone():
    candidate = Candidate(revision=5, version=4)
    split = Split(candidate=candidate, strategy=Strategy.CANARY, weight=100, step=0, key_header="x")

    async def tried(_question):
        return Answer(HTTPStatus.OK, b"the candidate's")

    async def play():
        server = replica(Registry())
        server._splitter = Splitter(lambda _revision: tried, lambda *_: None)
        server._splitter.reconfigure(split)
        return await server.answer(asked("north")), await server.answer(Question(Wire.ROWS, PLAIN))

    other, own = asyncio.run(play())
    assert other.headers[1] == (b"slipway-model", b"north")
    assert own.body == b"the candidate's"


def test_a_change_of_the_models_is_another_replica():
    version = build(SEVERAL)._bound_deployment.version
    fewer = MULTIPLEXED.model_copy(update={"models": MULTIPLEXED.models[:1]})
    changed = SEVERAL.model_copy(update={"spec": SEVERAL.spec.model_copy(update={"multiplexed": fewer})})
    assert build(changed)._bound_deployment.version != version


def test_other_headers_name_no_model():
    assert model_id(((b"authorization", TOKEN.encode()), (b"content-type", b"application/json"))) == ""
