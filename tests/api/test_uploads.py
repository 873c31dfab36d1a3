"""Uploads of any size: refused at the limit, written as they come, never held in memory."""

import asyncio
import tracemalloc
from dataclasses import replace

import pytest

from platform_app.api.app import create_app
from platform_app.services.packages import Packages
from platform_app.services.ray_door import RayDoor
from tests.control_plane import TOKEN

PIECE = b"\0" * 2**20
PROMISED = 2048
"""Pieces that the client would send: 2 GiB."""
LIMIT = 64
"""Pieces that the platform takes."""


@pytest.fixture
def app(plane):
    packages = Packages(plane.storage, limit_bytes=LIMIT * len(PIECE))
    door = RayDoor(plane.store, plane.jobs, plane.logs, packages, plane.clock)
    return create_app(replace(plane.services, packages=packages, ray_door=door))


def upload(app, method: str, path: str, *headers: tuple[bytes, bytes]) -> tuple[int, str, int]:
    """Send the promised pieces as a server would hand them on; give status, answer and how many were asked for."""
    answer: list[dict] = []
    asked = 0

    async def receive() -> dict:
        nonlocal asked
        asked += 1
        return {"type": "http.request", "body": PIECE, "more_body": asked < PROMISED}

    async def send(message: dict) -> None:
        answer.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "path": path,
        "query_string": b"",
        "headers": [(b"authorization", f"Bearer {TOKEN}".encode()), *headers],
    }
    asyncio.run(app(scope, receive, send))
    return answer[0]["status"], b"".join(part.get("body", b"") for part in answer).decode(), asked


DOORS = pytest.mark.parametrize(
    ("method", "path"), [("POST", "/v1/packages"), ("PUT", "/api/packages/gcs/_ray_pkg_1.zip")]
)


@DOORS
def test_one_of_2_gb_is_refused_at_the_limit_and_held_in_no_memory(app, plane, method, path):
    tracemalloc.start()
    status, text, asked = upload(app, method, path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (status, f"larger than the {LIMIT * len(PIECE)} bytes" in text) == (413, True)
    assert asked == LIMIT + 1
    assert peak < LIMIT * len(PIECE) / 4
    assert [path for path in (plane.folder / "storage").rglob("*") if path.is_file()] == []


@DOORS
def test_one_that_says_how_large_it_is_is_refused_before_any_of_it_is_read(app, method, path):
    status, text, asked = upload(app, method, path, (b"content-length", str(PROMISED * len(PIECE)).encode()))
    assert (status, asked) == (413, 0)
    assert "have the operator raise SLIPWAY_PACKAGE_LIMIT_BYTES" in text
