"""What a large ledger costs: routes over HTTP beside the same of a small one, and a thousand submissions at once."""

import http.client
import json
import random
import tempfile
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from tests.benchmarks.figure import Figure
from tests.benchmarks.ledgers import SPEC, TOKEN, Ledger

SMALL, LARGE = 100, 10_000
ASKED = 300
"""Requests of each kind in each round, of each ledger: one of one, then one of the other."""
SUBMITTED, AT_ONCE, ALLOWED_SECONDS = 1_000, 8, 60.0
GOAL = 1.5
_BODY = SPEC.model_dump_json().encode()

Request = tuple[str, str, bytes]
"""Method, path and body."""


class Caller:
    """One connection that stays open."""

    def __init__(self, url: str) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=120)

    def ask(self, request: Request) -> tuple[int, bytes]:
        """Send a request, and give status and body of the answer."""
        method, path, body = request
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        if body:
            headers["Idempotency-Key"] = uuid.uuid4().hex
        self._connection.request(method, path, body, headers)
        answer = self._connection.getresponse()
        return answer.status, answer.read()

    def timed(self, request: Request) -> float:
        """Send a request that must succeed, and give the milliseconds until the whole answer was there."""
        began = time.perf_counter()
        status, body = self.ask(request)
        taken = (time.perf_counter() - began) * 1000
        if status >= HTTPStatus.BAD_REQUEST:
            raise RuntimeError(f"{request[0]} {request[1]}: HTTP {status}: {body[:500]!r}")
        return taken


ROUTES: dict[str, Callable[[int], Request]] = {
    "GET /v1/jobs, the first page": lambda _size: ("GET", "/v1/jobs", b""),
    "GET /v1/jobs/{id}": lambda size: ("GET", f"/v1/jobs/{Ledger.job_id(random.randrange(size))}", b""),
    # The last: it makes both ledgers longer.
    "POST /v1/jobs": lambda _size: ("POST", "/v1/jobs", _BODY),
}
"""What is asked of a ledger of a size."""


def ledger(rounds: int) -> list[Figure]:
    """Measure p99 of each route over both ledgers in turn, then submit to the large one as fast as it takes."""
    slow: dict[str, tuple[list[float], list[float]]] = {route: ([], []) for route in ROUTES}
    rates, kept = [], []
    with tempfile.TemporaryDirectory(prefix="slipway-bench-") as folder:
        large, small = (Ledger(Path(folder) / str(size), size) for size in (LARGE, SMALL))
        for _ in range(rounds):
            with large.served() as at_large, small.served() as at_small:
                callers = Caller(at_large), Caller(at_small)
                for route, (ours, peers) in slow.items():
                    taken = _in_turn(callers, ROUTES[route])
                    ours.append(float(np.percentile(taken[0], 99)))
                    peers.append(float(np.percentile(taken[1], 99)))
                seconds, found = _submit_all(at_large)
                rates.append(SUBMITTED / seconds)
                kept.append(found)
    return [
        *(
            Figure("ledger", f"p99 of {route}: {LARGE} jobs beside {SMALL}", "ms", ours, peers, GOAL, at_least=False)
            for route, (ours, peers) in slow.items()
        ),
        Figure(
            part="ledger",
            what=f"{SUBMITTED} submissions by {AT_ONCE} at once, beside the minute that they may take",
            unit="jobs/s",
            ours=rates,
            peer=[SUBMITTED / ALLOWED_SECONDS] * rounds,
            goal=1.0,
            at_least=True,
        ),
        Figure(
            part="ledger",
            what="of these, accepted and found again, in the worst round",
            unit="jobs",
            ours=[min(kept)],
            peer=[SUBMITTED],
            goal=1.0,
            at_least=True,
        ),
    ]


def _in_turn(callers: tuple[Caller, Caller], request: Callable[[int], Request]) -> tuple[list[float], list[float]]:
    """Ask the large and the small ledger in turn, and give the milliseconds of each."""
    taken: tuple[list[float], list[float]] = [], []
    for place in range(ASKED + 10):
        for caller, size, times in zip(callers, (LARGE, SMALL), taken, strict=True):
            seen = caller.timed(request(size))
            if place >= 10:  # the first few connect and fill caches
                times.append(seen)
    return taken


def _submit_all(url: str) -> tuple[float, int]:
    """Submit by several connections at once; give the seconds, and how many were accepted and are there afterwards."""

    def submit(count: int) -> list[str]:
        caller, accepted = Caller(url), []
        for _ in range(count):
            status, body = caller.ask(("POST", "/v1/jobs", _BODY))
            if status in (HTTPStatus.CREATED, HTTPStatus.ACCEPTED):
                accepted.append(json.loads(body)["id"])
        return accepted

    began = time.perf_counter()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        accepted = [job_id for ids in pool.map(submit, [SUBMITTED // AT_ONCE] * AT_ONCE) for job_id in ids]
    seconds = time.perf_counter() - began
    caller = Caller(url)
    found = sum(caller.ask(("GET", f"/v1/jobs/{job_id}", b""))[0] == HTTPStatus.OK for job_id in set(accepted))
    return seconds, found
