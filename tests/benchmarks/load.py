"""A load generator: so many connections that each send the same request again as soon as it is answered.

python -m tests.benchmarks.load URL --body body.json [--header 'name: value']... --concurrency 16 --seconds 5

One process on uvloop and httptools: some 20,000 requests a second against a server that does nothing, which is several
times what a Python server answers. It prints one line of JSON.
"""

import argparse
import asyncio
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import httptools
import numpy as np
import uvloop


@dataclass(frozen=True)
class Measured:
    """What a server did under one load."""

    per_second: float
    """Requests that were answered with 200."""
    p50_ms: float
    p99_ms: float
    errors: int
    """Answers that were not 200, and connections that broke."""


class Connection(asyncio.Protocol):
    """One connection, with one request on its way at any time."""

    def __init__(self, request: bytes, ended: asyncio.Future[None]) -> None:
        self._request = request
        self._ended = ended
        self.latencies: list[tuple[float, float]] = []
        """When each good answer was there, by the monotonic clock, and how long it took, in seconds."""
        self.errors = 0
        self._parser = httptools.HttpResponseParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        now = time.perf_counter()
        if self._parser.get_status_code() == 200:
            self.latencies.append((now, now - self._sent_at))
        else:
            self.errors += 1
        if not self._parser.should_keep_alive():
            self._transport.close()
            return
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._ended.done():
            self._ended.set_result(None)

    def stop(self) -> None:
        """Send no more."""
        self._transport.abort()

    def _send(self) -> None:
        self._sent_at = time.perf_counter()
        self._transport.write(self._request)


def request_bytes(url: str, body: bytes, headers: dict[str, str]) -> bytes:
    """Render a POST as it goes over the wire."""
    parts = urlsplit(url)
    lines = [f"POST {parts.path or '/'} HTTP/1.1", f"host: {parts.netloc}", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def _one(host: str, port: int, request: bytes, until: float) -> tuple[list[Connection], int]:
    """Keep one request on its way until a moment, and give the connections that it took and the refusals of any."""
    loop = asyncio.get_running_loop()
    used: list[Connection] = []
    refused = 0
    while (left := until - time.perf_counter()) > 0:
        ended: asyncio.Future[None] = loop.create_future()
        try:
            _, connection = await loop.create_connection(lambda ended=ended: Connection(request, ended), host, port)
        except OSError:
            refused += 1
            await asyncio.sleep(0.05)
            continue
        used.append(connection)
        await asyncio.wait([ended], timeout=left)
        if ended.done() and time.perf_counter() < until and not connection.latencies:
            connection.errors += 1  # it broke before any answer
        connection.stop()
    return used, refused


async def measure(url: str, request: bytes, concurrency: int, seconds: float, warm_up: float) -> Measured:
    """Load a server, and count what was answered after the warm-up."""
    parts = urlsplit(url)
    started = time.perf_counter()
    until = started + warm_up + seconds
    loops = (_one(parts.hostname or "", parts.port or 80, request, until) for _ in range(concurrency))
    ended = await asyncio.gather(*loops)
    connections = [connection for used, _ in ended for connection in used]
    counted = [
        taken
        for connection in connections
        for at, taken in connection.latencies
        if at >= started + warm_up and at <= until
    ]
    errors = sum(connection.errors for connection in connections) + sum(refused for _, refused in ended)
    if not counted:
        return Measured(0.0, float("nan"), float("nan"), errors)
    p50, p99 = np.percentile(np.array(counted) * 1000, [50, 99])
    return Measured(len(counted) / seconds, float(p50), float(p99), errors)


def main() -> None:
    """Measure once, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--body", type=Path, required=True, help="file with the body")
    parser.add_argument("--header", action="append", default=[], help="'name: value'")
    parser.add_argument("--concurrency", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--warm-up", type=float, default=1.0, help="seconds that are not counted")
    options = parser.parse_args()
    pairs = (header.partition(":") for header in options.header)
    headers = {name.strip(): value.strip() for name, _, value in pairs}
    request = request_bytes(options.url, options.body.read_bytes(), headers)
    measured = uvloop.run(measure(options.url, request, options.concurrency, options.seconds, options.warm_up))
    print(json.dumps(asdict(measured)))  # noqa: T201


if __name__ == "__main__":
    main()
