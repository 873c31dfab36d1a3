"""An event loop in a thread of its own, with the API server in it, for tests that are plain functions."""

import asyncio
import ssl
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from aiohttp import web

from tests.kube.standin.api.server import Server

T = TypeVar("T")

HOST = "127.0.0.1"


class Serving:
    """One running API server."""

    def __init__(self, server: Server, certificate: tuple[Path, Path], authority: Path) -> None:
        self._server = server
        self._tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(authority))
        self._tls.load_cert_chain(*certificate)
        self._tls.verify_mode = ssl.CERT_OPTIONAL
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="kube-stand-in", daemon=True)
        self._runner: web.AppRunner | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self.port = 0
        """Where it listens."""

    def start(self) -> None:
        """Start to listen on a free port."""
        self._thread.start()
        self.wait(self._listen())

    def wait(self, work: Awaitable[T], timeout: float = 60.0) -> T:
        """Run a coroutine in the loop and give its result."""

        async def run() -> T:
            return await work

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(timeout)

    def call(self, work: Callable[[], T]) -> T:
        """Call a function in the loop, where alone the objects may be touched, and give its result."""

        async def run() -> T:
            return work()

        return self.wait(run())

    def repeat(
        self, step: Callable[[], Awaitable[None] | None], seconds: float, failed: Callable[[Exception], None]
    ) -> None:
        """Call a step again and again; an error of it is told, and the next step is taken all the same."""

        async def run() -> None:
            while True:
                try:
                    if (pending := step()) is not None:
                        await pending
                except Exception as error:
                    failed(error)
                await asyncio.sleep(seconds)

        def begin() -> None:
            self._tasks.append(self._loop.create_task(run()))

        self.call(begin)

    def end_steps(self) -> None:
        """Take no more steps."""

        async def cancel() -> None:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

        self.wait(cancel())

    def stop(self) -> None:
        """Listen no more."""
        if self._runner:
            self.wait(self._runner.cleanup())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _listen(self) -> None:
        self._runner = web.AppRunner(self._server.application(), access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        site = web.TCPSite(self._runner, HOST, 0, ssl_context=self._tls)
        await site.start()
        self.port = self._runner.addresses[0][1]
