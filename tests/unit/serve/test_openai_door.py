"""The door before a language model's routes, with an engine that is a few lines long: who may ask, limits, streams."""

import asyncio

import httpx
import pytest

from serve.callers import Callers
from serve.openai_door import OpenAiDoor
from tests.unit.serve.sum_model import SERVED, TOKEN

HEADERS = {"authorization": f"Bearer {TOKEN}"}
PREFIX = "/llm/chat"


class Replica:
    """What the door asks of a replica."""

    max_body_bytes = 100
    timeout_seconds = 0.2
    headers = ((b"slipway-model-version", b"3"),)
    admit = Callers(SERVED.token_digests).admit


class Engine:
    """Gives back what it is sent, in two parts; takes its time where a test wants it to."""

    def __init__(self, waits_first=0.0, waits_between=0.0):
        self.waits_first = waits_first
        self.waits_between = waits_between
        self.was_asked = False

    async def __call__(self, scope, receive, send):
        self.was_asked = True
        body = (await receive())["body"]
        await asyncio.sleep(self.waits_first)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": body, "more_body": True})
        await asyncio.sleep(self.waits_between)
        await send({"type": "http.response.body", "body": b"."})


def ask(engine, method="POST", path="/v1/completions", headers=HEADERS, content=b"{}"):
    async def asked():
        transport = httpx.ASGITransport(OpenAiDoor(engine, Replica()), root_path=PREFIX)
        async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers) as client:
            return await client.request(method, PREFIX + path, content=content)

    return asyncio.run(asked())


def test_what_the_engine_answers_comes_through_with_who_gave_it():
    answer = ask(Engine())
    assert (answer.status_code, answer.content) == (200, b"{}.")
    assert answer.headers["slipway-model-version"] == "3"
    assert answer.headers["content-type"] == "text/plain"


@pytest.mark.parametrize(
    ("changes", "status", "message"),
    [
        ({"headers": {}}, 401, "send an API token of the platform: Authorization: Bearer TOKEN"),
        ({"headers": {"authorization": "Bearer wrong"}}, 401, "send an API token of the platform"),
        ({"content": bytes(101)}, 413, "the body has 101 bytes; at most 100 are taken"),
        ({"path": "/metrics"}, 404, "Not Found: POST /llm/chat/metrics: OpenAI's routes begin with /v1/"),
        ({"path": "/v1/../metrics"}, 404, "Not Found: POST /llm/chat/metrics"),
        ({"path": ""}, 404, "Not Found: POST /llm/chat"),
    ],
)
def test_a_refusal_has_openais_form_and_the_engine_hears_nothing_of_it(changes, status, message):
    engine = Engine()
    answer = ask(engine, **changes)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["type"]) == (status, status, "invalid_request_error")
    assert error["message"].startswith(message)
    assert not engine.was_asked


def test_an_engine_that_does_not_begin_to_answer_in_time_is_told_as_such():
    answer = ask(Engine(waits_first=60))
    assert (answer.status_code, answer.headers["slipway-model-version"]) == (504, "3")
    told = {"message": "the model took longer than 0.2 s", "type": "server_error", "param": None, "code": 504}
    assert answer.json() == {"error": told}


def test_a_stream_may_last_longer_than_the_timeout():
    assert ask(Engine(waits_between=2 * Replica.timeout_seconds)).content == b"{}."


def test_a_client_that_goes_away_is_heard_of_by_the_engine():
    heard = []

    async def engine(scope, receive, send):
        heard.extend([(await receive())["type"], (await receive())["type"]])

    scope = {"type": "http", "method": "POST", "path": "/v1/completions", "headers": []}
    scope["headers"] = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
    received = [{"type": "http.request", "body": b"{}"}, {"type": "http.disconnect"}]

    async def receive():
        return received.pop(0)

    async def send(_message):
        pass

    asyncio.run(OpenAiDoor(engine, Replica())(scope, receive, send))
    assert heard == ["http.request", "http.disconnect"]


def test_the_engines_own_start_and_end_come_through_and_websockets_do_not():
    seen, sent = [], []

    async def engine(scope, receive, send):
        seen.append(scope["type"])

    async def send(message):
        sent.append(message["type"])

    for kind in ("lifespan", "websocket"):
        asyncio.run(OpenAiDoor(engine, Replica())({"type": kind}, None, send))
    assert (seen, sent) == (["lifespan"], ["websocket.close"])
