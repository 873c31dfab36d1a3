"""A constant load on a deployment, and every answer that came."""

import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx

from tests.drills.versions import requests
from tests.running import Running

CALLERS = 4
PAUSE_SECONDS = 0.04
"""Between an answer and the caller's next request: the load does not grow where answers come sooner."""


@dataclass(frozen=True)
class Told:
    """One answer."""

    at: float
    """When it was there, by the wall clock."""
    status: int
    """0 where the connection broke."""
    revision: int
    """0 where no version answered."""
    seconds: float
    text: str = ""
    """Of what is no success."""


@dataclass
class Answers:
    """All answers to a load, as they come."""

    all: list[Told] = field(default_factory=list)

    def since(self, moment: float) -> list[Told]:
        """Give those that came after a moment."""
        return [one for one in self.all if one.at >= moment]

    def failed(self, since: float = 0) -> list[Told]:
        """Give those that are no success."""
        return [one for one in self.since(since) if one.status != 200]


@contextmanager
def load(running: Running, deployment: str) -> Iterator[Answers]:
    """Ask a deployment all the time, while the body runs."""
    answers, ended = Answers(), threading.Event()
    bodies = requests()
    url = f"{running.state.api_url}/v2/models/{deployment}/infer"

    def call(offset: int) -> None:
        headers = {"authorization": f"Bearer {running.state.api_token}"}
        with httpx.Client(headers=headers, timeout=60) as client:
            for body in itertools.islice(itertools.cycle(bodies), offset, None):
                if ended.is_set():
                    return
                answers.all.append(_ask(client, url, body))
                time.sleep(PAUSE_SECONDS)

    callers = [threading.Thread(target=call, args=(number * 80,)) for number in range(CALLERS)]
    for caller in callers:
        caller.start()
    try:
        yield answers
    finally:
        ended.set()
        for caller in callers:
            caller.join()


def _ask(client: httpx.Client, url: str, body: object) -> Told:
    started = time.perf_counter()
    try:
        answer = client.post(url, json=body)
    except httpx.HTTPError as error:
        return Told(time.time(), 0, 0, time.perf_counter() - started, repr(error))
    revision = int(answer.headers.get("slipway-revision", 0))
    text = "" if answer.status_code == 200 else answer.text[:200]
    return Told(time.time(), answer.status_code, revision, time.perf_counter() - started, text)
