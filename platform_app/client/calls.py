"""Calls of the HTTP API over one connection, and their answers as views."""

from typing import Any, TypeVar

import httpx

from platform_app.client.connection import Connection
from platform_app.client.results import Table
from platform_app.display import View

V = TypeVar("V", bound=View)


class Calls:
    """Calls of one platform, with one token."""

    def __init__(
        self, url: str | None = None, token: str | None = None, transport: httpx.BaseTransport | None = None
    ) -> None:
        """Connect; without arguments to `SLIPWAY_URL` with `SLIPWAY_TOKEN`, else to the platform on this machine."""
        self._connection = Connection(url, token, transport)

    @property
    def url(self) -> str:
        """Where the platform is."""
        return self._connection.url

    def _json(self, method: str, path: str, **options: Any) -> Any:
        return self._connection.send(method, path, **options).json()

    def _table(self, kind: type[V], path: str) -> Table[V]:
        return Table(kind.model_validate(one) for one in self._json("GET", path))
