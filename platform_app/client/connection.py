"""One HTTP connection to the platform: where it is, the token, retries, and problem documents as exceptions."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import tenacity

from platform_app.errors import FieldProblem, NotFound, SlipwayError, TemporaryError
from platform_app.local.state import find_state

_RETRY_SECONDS = 120

_NO_ROUTE = "/-/routes for available routes"
"""How Serve's 404 ends while nothing is deployed."""


class ApiError(SlipwayError):
    """The platform answered with a problem document (RFC 9457)."""

    def __init__(self, status: int, code: str, detail: str, problems: tuple[FieldProblem, ...]) -> None:
        self.status = status
        self.code = code
        self.problems = problems
        super().__init__(detail)


class Connection:
    """Sends requests; a platform that is being restarted is waited for, up to two minutes."""

    def __init__(
        self, url: str | None = None, token: str | None = None, transport: httpx.BaseTransport | None = None
    ) -> None:
        """Find the platform: arguments, else `SLIPWAY_URL` and `SLIPWAY_TOKEN`, else the one on this machine.

        Raises:
            NotFound: nothing says where the platform is.
        """
        url, token = url or os.environ.get("SLIPWAY_URL"), token or os.environ.get("SLIPWAY_TOKEN")
        if not (url and token):
            state = find_state()
            if state is None:
                raise NotFound("no platform here: start one with `slipway up`, or set SLIPWAY_URL and SLIPWAY_TOKEN")
            url, token = url or state.api_url, token or state.api_token
        self.url = url.rstrip("/")
        self._http = httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {token}"},
            timeout=httpx.Timeout(30, read=90),
            transport=transport,
        )

    def send(self, method: str, path: str, *, repeatable: bool = True, **options: Any) -> httpx.Response:
        """Send a request and give the answer.

        Args:
            method: HTTP method.
            path: below the platform's URL.
            repeatable: sending it twice is the same as once, so that it may be retried after a broken connection.
            options: as `httpx.Client.request` takes them.

        Raises:
            ApiError: the platform refused.
            TemporaryError: the platform did not answer for two minutes.
        """
        retriable = (httpx.TransportError, TemporaryError) if repeatable else (httpx.ConnectError,)
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(retriable),
            stop=tenacity.stop_after_delay(_RETRY_SECONDS),
            wait=tenacity.wait_exponential(multiplier=0.2, max=3),
            reraise=True,
        )
        with self._explained():
            for attempt in retrying:
                with attempt:
                    answer = self._http.request(method, path, **options)
                    raise_for_problem(answer)
        return answer

    @contextmanager
    def stream(self, path: str, **params: Any) -> Iterator[httpx.Response]:
        """Open a streamed GET; it stays open until the platform ends it. Raises as `send`, without retrying."""
        timeout = httpx.Timeout(30, read=None)
        with self._explained(), self._http.stream("GET", path, params=params, timeout=timeout) as answer:
            if not answer.is_success:
                answer.read()
            raise_for_problem(answer)
            yield answer

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except httpx.TransportError as error:
            raise TemporaryError(
                f"the platform at {self.url} does not answer ({error}): see `slipway status`, or check SLIPWAY_URL"
            ) from error


def raise_for_problem(answer: httpx.Response) -> None:
    """Raise what an answer says went wrong; nothing for a success. Raises ApiError or TemporaryError."""
    if answer.is_success:
        return
    try:
        problem = answer.json()
        detail = problem.get("detail") or problem.get("title") or problem.get("error") or answer.text
    except (ValueError, AttributeError):
        problem, detail = {}, answer.text[:500] or answer.reason_phrase
    # What is no problem document is Serve's own: the control plane's replica died, is started, or has no route yet.
    of_serve = "code" not in problem and (answer.is_server_error or _NO_ROUTE in answer.text)
    if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE or of_serve:
        raise TemporaryError(f"HTTP {answer.status_code}: {detail}")
    problems = tuple(FieldProblem(entry["field"], entry["message"]) for entry in problem.get("errors", ()))
    raise ApiError(answer.status_code, problem.get("code", f"http-{answer.status_code}"), detail, problems)
