"""A model slower than its timeout, a body too large, a client that goes away: told clearly, and nobody else's loss."""

import asyncio
import json

import httpx
import pytest

from tests.unit.serve.sum_model import ROWS, TOKEN, HeldModel, serving

BODY = json.dumps({"inputs": [ROWS]}).encode()
HEADERS = {"authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def model():
    return HeldModel()


def client(server):
    transport = httpx.ASGITransport(server.__serve_build_asgi_app__(), root_path="/v2/models/digits")
    return httpx.AsyncClient(transport=transport, base_url="http://test/v2/models/digits", headers=HEADERS)


def test_a_model_slower_than_its_timeout_is_told_in_the_protocols_form_and_the_next_is_answered(model):
    server = serving(model, request_timeout_seconds=1.0)

    async def asked():
        async with client(server) as asks:
            model.lets_go.clear()
            late = await asks.post("/infer", content=BODY)
            model.lets_go.set()
            return late, await asks.post("/infer", content=BODY)

    late, following = asyncio.run(asked())
    assert (late.status_code, late.json()) == (504, {"error": "the model took longer than 1 s"})
    assert late.headers["slipway-model-version"] == "3"
    assert following.status_code == 200


def test_who_waits_behind_a_slow_call_waits_no_longer_than_the_timeout_and_costs_no_call(model):
    server = serving(model, request_timeout_seconds=1.0)
    known = model.calls

    async def asked():
        async with client(server) as asks:
            model.lets_go.clear()
            late = await asyncio.gather(*(asks.post("/infer", content=BODY) for _ in range(5)))
            model.lets_go.set()
            return late, await asks.post("/infer", content=BODY)

    late, following = asyncio.run(asked())
    assert [answer.status_code for answer in late] == [504] * 5
    assert following.status_code == 200
    assert model.calls == known + 2, "who gave up while waiting is not computed"


def test_a_client_that_goes_away_while_the_model_computes_is_nobody_elses_loss(model):
    server = serving(model)
    model.is_asked.clear()

    async def asked():
        async with client(server) as asks:
            model.lets_go.clear()
            goes = asyncio.ensure_future(asks.post("/infer", content=BODY))
            assert await asyncio.to_thread(model.is_asked.wait, 30)
            goes.cancel()
            await asyncio.wait([goes])
            waits = asyncio.ensure_future(asks.post("/infer", content=BODY))
            model.lets_go.set()
            return goes, await waits

    gone, following = asyncio.run(asked())
    assert gone.cancelled()
    assert following.json()["outputs"][0]["data"] == [3, 7]


def test_a_body_of_100_mb_is_refused_with_its_size_and_the_limit(model):
    async def endless():
        for _ in range(100):
            yield bytes(2**20)

    async def asked():
        async with client(serving(model)) as asks:
            return await asks.post("/infer", content=endless()), await asks.post("/infer", content=BODY)

    refused, following = asyncio.run(asked())
    assert refused.status_code == 413
    assert refused.json() == {"error": "the body has 104857600 bytes; at most 67108864 are taken"}
    assert following.status_code == 200


def test_a_client_that_goes_away_within_its_body_is_not_computed_for(model):
    door = serving(model).__serve_build_asgi_app__()
    known = model.calls
    headers = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
    scope = {"type": "http", "method": "POST", "path": "/infer", "headers": headers}
    received = [{"type": "http.request", "body": BODY, "more_body": True}, {"type": "http.disconnect"}]
    sent = []

    async def receive():
        return received.pop(0)

    async def send(message):
        sent.append(message)

    asyncio.run(door(scope, receive, send))
    assert sent[0]["status"] == 400
    assert json.loads(sent[1]["body"]) == {"error": "the body broke off: send it again"}
    assert model.calls == known


def test_a_call_that_never_comes_back_makes_the_replica_unhealthy_but_a_slow_one_does_not(model):
    now = [0.0]
    server = serving(model, clock=lambda: now[0], request_timeout_seconds=60)
    model.is_asked.clear()

    async def asked():
        async with client(server) as asks:
            model.lets_go.clear()
            waits = asyncio.ensure_future(asks.post("/infer", content=BODY))
            assert await asyncio.to_thread(model.is_asked.wait, 30)
            now[0] = 600
            await server.check_health()
            now[0] = 601
            with pytest.raises(RuntimeError, match="mlp version 3: a call has not come back for 601 s"):
                await server.check_health()
            model.lets_go.set()
            assert (await waits).status_code == 200
            await server.check_health()

    asyncio.run(asked())
