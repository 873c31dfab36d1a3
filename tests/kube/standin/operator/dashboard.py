"""The Ray dashboard of a head, as the operator speaks to it."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import aiohttp

_TIMEOUT = aiohttp.ClientTimeout(total=60)


class Unreachable(Exception):
    """The dashboard does not answer, or answers with an error."""


class Dashboard:
    """One dashboard's HTTP API."""

    def __init__(self, address: str, token: str | None) -> None:
        """Speak to `host:port`, with the cluster's token where it has one."""
        self.address = address
        self._url = f"http://{address}"
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    async def job(self, submission_id: str) -> dict[str, Any] | None:
        """Read a job; None when there is no such job."""
        return await self._call("GET", f"/api/jobs/{submission_id}")

    async def submit(self, request: Mapping[str, Any]) -> None:
        """Submit a job."""
        await self._call("POST", "/api/jobs/", request)

    async def stop(self, submission_id: str) -> None:
        """Ask a job to stop."""
        await self._call("POST", f"/api/jobs/{submission_id}/stop", {})

    async def logs(self, submission_id: str) -> str:
        """Read a job's output so far."""
        return ((await self._call("GET", f"/api/jobs/{submission_id}/logs")) or {}).get("logs", "")

    async def deploy(self, config: Mapping[str, Any]) -> None:
        """Set the list of Serve's applications."""
        await self._call("PUT", "/api/serve/applications/", config)

    async def applications(self) -> dict[str, Any]:
        """Read the state of Serve's applications, by name."""
        return ((await self._call("GET", "/api/serve/applications/")) or {}).get("applications", {})

    async def _call(self, method: str, path: str, body: Any = None) -> dict[str, Any] | None:
        try:
            async with (
                aiohttp.ClientSession(headers=self._headers, timeout=_TIMEOUT, trust_env=False) as session,
                session.request(method, self._url + path, json=body) as answer,
            ):
                if answer.status == HTTPStatus.NOT_FOUND:
                    return None
                text = await answer.text()
                if answer.status >= HTTPStatus.BAD_REQUEST:
                    raise Unreachable(f"{method} {path} fails: {answer.status} {text[:500]}")
                return await answer.json() if "json" in answer.content_type else {}
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Unreachable(f"{method} {path} fails: {error or type(error).__name__}") from error
