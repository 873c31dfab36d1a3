"""Requests for a model go past Serve and are counted; all others go Serve's own way."""

import asyncio
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serve.fast_path import FastPath, middlewares
from serve.http import HttpDoor, read_body


class Counts:
    """What Serve scales and drains by."""

    def __init__(self):
        self.ongoing = 0
        self.highest = 0

    def inc_num_ongoing_requests(self, _metadata):
        self.ongoing += 1
        self.highest = max(self.highest, self.ongoing)

    def dec_num_ongoing_requests(self, _metadata):
        self.ongoing -= 1


class Door(HttpDoor):
    def __init__(self):
        self.paths = []

    async def __call__(self, scope, receive, send):
        self.paths.append(scope["path"].removeprefix(scope["root_path"]))


class Replica:
    """A replica as Serve builds it: its ASGI method, within the middleware that gives requests their ids."""

    _route_prefix = "/v2/models/digits"

    def __init__(self, app, in_a_thread=False):
        self._user_callable_asgi_app = app
        self._user_callable_wrapper = SimpleNamespace(_run_user_code_in_separate_thread=in_a_thread)
        self._metrics_manager = Counts()
        self.paths = []

    async def asgi(self, scope, receive, send):
        self.paths.append(scope["path"])

    def within_the_fast_path(self):
        serves_own = self.asgi

        async def with_id(scope, receive, send):
            await serves_own(scope, receive, send)

        with_id._app = self.asgi
        return FastPath(with_id)

    def ask(self, path):
        asyncio.run(self.within_the_fast_path()({"type": "http", "path": path, "root_path": ""}, None, None))


def test_a_request_for_the_model_goes_past_serve_and_counts_as_ongoing():
    replica = Replica(Door())
    replica.ask("/v2/models/digits/infer")
    assert replica._user_callable_asgi_app.paths == ["/infer"]
    assert replica.paths == []
    assert (replica._metrics_manager.ongoing, replica._metrics_manager.highest) == (0, 1)


@pytest.mark.parametrize(
    ("replica", "path"),
    [
        (Replica(Door()), "/-/healthz"),
        (Replica(object()), "/v2/models/digits/infer"),
        (Replica(Door(), in_a_thread=True), "/v2/models/digits/infer"),
    ],
)
def test_health_checks_other_applications_and_models_in_a_thread_go_serves_way(replica, path):
    replica.ask(path)
    assert replica.paths == [path]
    assert replica._metrics_manager.highest == 0


def test_serve_finds_it_by_the_import_path_of_its_callback():
    (middleware,) = middlewares()
    assert middleware.cls is FastPath


class Echo(HttpDoor):
    """Answers with what it is sent, or with an error where that is empty."""

    def __init__(self):
        pass

    async def __call__(self, scope, receive, send):
        body = await read_body(receive, 2**20)
        answer = body or b"empty"
        headers = [(b"content-length", str(len(answer)).encode()), (b"slipway-revision", b"7")]
        await send({"type": "http.response.start", "status": 200 if body else 400, "headers": headers})
        await send({"type": "http.response.body", "body": answer})


class Recorded(HttpToolsProtocol):
    """uvicorn's own, which keeps what is written."""

    writes: list[bytes]

    def connection_made(self, transport):
        super().connection_made(transport)
        protocol = self

        class Transport:
            def write(self, data):
                protocol.writes.append(data)
                transport.write(data)

            def __getattr__(self, name):
                return getattr(transport, name)

        self.transport = Transport()


@asynccontextmanager
async def connected(door):
    """Serve a door by uvicorn behind the fast path, and give a connection with the list of what uvicorn writes."""
    writes = []
    protocol = type("Protocol", (Recorded,), {"writes": writes})
    app = Replica(door).within_the_fast_path()
    server = uvicorn.Server(uvicorn.Config(app, port=0, http=protocol, lifespan="off", log_config=None))
    serves = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    reader, writer = await asyncio.open_connection(*server.servers[0].sockets[0].getsockname()[:2])
    try:
        yield reader, writer, writes
    finally:
        writer.close()
        server.should_exit = True
        await serves


def request(body=b"", method="POST", **headers):
    lines = [f"{method} /v2/models/digits/infer HTTP/1.1", "host: h", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def read_answer(reader, has_body=True):
    head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)).decode().lower()
    length = next(int(line.split(":")[1]) for line in head.split("\r\n") if line.startswith("content-length"))
    return head, await reader.readexactly(length) if has_body else b""


def asked(scenario):
    async def run():
        async with connected(Echo()) as (reader, writer, writes):
            return await scenario(reader, writer), writes

    return asyncio.run(run())


def test_an_answer_leaves_in_one_write_and_the_connection_is_used_again():
    async def scenario(reader, writer):
        answers = []
        for body in (b"one", b"", b"three"):
            writer.write(request(body))
            answers.append(await read_answer(reader))
        return answers

    answers, writes = asked(scenario)
    assert [body for _, body in answers] == [b"one", b"empty", b"three"]
    assert [head.split(" ")[1] for head, _ in answers] == ["200", "400", "200"]
    assert all("slipway-revision: 7" in head for head, _ in answers)
    assert len(writes) == 3


def test_requests_that_come_before_their_answers_are_answered_in_turn():
    async def scenario(reader, writer):
        writer.write(request(b"one") + request(b"two") + request(b"three"))
        return [(await read_answer(reader))[1] for _ in range(3)]

    assert asked(scenario)[0] == [b"one", b"two", b"three"]


def test_a_client_that_closes_after_its_answer_is_told_that_the_connection_ends():
    async def scenario(reader, writer):
        writer.write(request(b"last", connection="close"))
        answer = await read_answer(reader)
        return answer, await asyncio.wait_for(reader.read(), 10)

    ((head, body), rest), _ = asked(scenario)
    assert "connection: close" in head
    assert (body, rest) == (b"last", b"")


def test_a_client_that_asks_first_whether_it_may_send_is_told_at_once():
    async def scenario(reader, writer):
        writer.write(request(b"four", expect="100-continue")[: -len(b"four")])
        told = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        writer.write(b"four")
        return told, await read_answer(reader)

    (told, (_, body)), _ = asked(scenario)
    assert told.startswith(b"HTTP/1.1 100")
    assert body == b"four"


def test_a_question_about_the_head_alone_gets_no_body():
    async def scenario(reader, writer):
        writer.write(request(method="HEAD"))
        head, _ = await read_answer(reader, has_body=False)
        writer.write(request(b"next"))
        return head, await read_answer(reader)

    (head, (_, body)), _ = asked(scenario)
    assert head.startswith("http/1.1 400")
    assert body == b"next"


def test_a_client_that_goes_away_before_its_answer_stops_nobody_else():
    answered = asyncio.Event()

    class Held(Echo):
        async def __call__(self, scope, receive, send):
            body = await read_body(receive, 2**20)
            if body == b"goes":
                assert (await receive())["type"] == "http.disconnect"
            answer = [(b"content-length", str(len(body)).encode())]
            await send({"type": "http.response.start", "status": 200, "headers": answer})
            await send({"type": "http.response.body", "body": body})
            if body == b"goes":
                answered.set()

    async def run():
        async with connected(Held()) as (reader, writer, writes):
            _, goes = await asyncio.open_connection(*writer.get_extra_info("peername"))
            goes.write(request(b"goes"))
            goes.close()
            await asyncio.wait_for(answered.wait(), 10)
            writer.write(request(b"stays"))
            return await read_answer(reader), writes

    (_, body), writes = asyncio.run(run())
    assert body == b"stays"
    assert len(writes) == 1


def test_a_server_that_is_not_uvicorn_is_sent_head_and_body_as_any_application_sends_them():
    sent = []

    async def receive():
        return {"type": "http.request", "body": b"one", "more_body": False}

    async def send(message):
        sent.append(message["type"])

    scope = {"type": "http", "method": "POST", "path": "/v2/models/digits/infer", "root_path": ""}
    asyncio.run(Replica(Echo()).within_the_fast_path()(scope, receive, send))
    assert sent == ["http.response.start", "http.response.body"]
