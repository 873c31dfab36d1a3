"""The API in front of a control plane, asked through its whole stack of middleware."""

import warnings

import pytest

from platform_app.api.app import create_app
from tests.control_plane import TOKEN

with warnings.catch_warnings():
    # Starlette would rather have httpx2; httpx is what the platform's own client uses.
    warnings.simplefilter("ignore")
    from fastapi.testclient import TestClient


@pytest.fixture
def app(plane):
    """Give what answers, which a module's own fixture may put something before."""
    return create_app(plane.services)


@pytest.fixture
def anyone(app):
    """Give a client without a token."""
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def api(anyone):
    """Give a client with a token."""
    anyone.headers["Authorization"] = f"Bearer {TOKEN}"
    return anyone


@pytest.fixture
def token():
    return TOKEN


@pytest.fixture
def made(api):
    """Give what makes a token and gives it as a header."""

    def make(team="research", role="member", **fields) -> dict[str, str]:
        spec = {"name": "t", "team": team, "role": role, **fields}
        answer = api.post("/v1/tokens", json=spec)
        assert answer.status_code == 201, answer.text
        return {"Authorization": f"Bearer {answer.json()['token']}"}

    return make
