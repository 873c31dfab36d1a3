"""Requests for a model go past Serve and are counted; all others go Serve's own way."""

import asyncio
from types import SimpleNamespace

import pytest

from serve.fast_path import FastPath, middlewares
from serve.http import HttpDoor


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

    def ask(self, path):
        serves_own = self.asgi

        async def with_id(scope, receive, send):
            await serves_own(scope, receive, send)

        with_id._app = self.asgi
        asyncio.run(FastPath(with_id)({"type": "http", "path": path, "root_path": ""}, None, None))


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
