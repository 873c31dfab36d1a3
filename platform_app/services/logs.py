"""The output of jobs: of an attempt that has ended as it was kept, of one that runs as it comes.

A place in a log is a count of bytes from its beginning, the same for every reading: whoever was cut off asks again
with the bytes seen so far and misses nothing.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

from platform_app.errors import NotFound, TemporaryError
from platform_app.ports import JobRunner, JobStore, Storage
from platform_app.services.asked import Asked
from platform_app.specs import ClusterChoice

_PAUSE_SECONDS = 1.0


class Logs(Asked):
    """The use cases of logs."""

    def __init__(
        self,
        store: JobStore,
        runners: Mapping[ClusterChoice, JobRunner],
        storage: Storage,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        super().__init__(store)
        self._runners = runners
        self._storage = storage
        self._sleep = sleep

    def attempt(self, job_id: str, wanted: int | None = None) -> int:
        """Give the attempt whose log is meant: the wanted one, else the newest, else the first that will be.

        Raises:
            NotFound: there is no such job, or it has no such attempt.
        """
        job = self._stored(job_id)
        newest = max(1, len(job.attempts))
        if wanted is not None and not 1 <= wanted <= newest:
            raise NotFound(f"{job_id} has no attempt {wanted}; the newest is {newest}")
        return wanted or newest

    def read(self, job_id: str, attempt: int, offset: int = 0) -> bytes:
        """Read an attempt's output so far, as UTF-8, from a number of bytes on; empty before it wrote any."""
        return self._text(job_id, attempt).encode()[offset:]

    async def follow(self, job_id: str, attempt: int, offset: int = 0) -> AsyncIterator[bytes]:
        """Stream an attempt's output from a number of bytes on until the attempt ends, waiting for it to begin."""
        seen = offset
        while True:
            # Whether it has ended is asked first: what is read after that is all there will ever be.
            if await asyncio.to_thread(self._is_over, job_id, attempt):
                if rest := await asyncio.to_thread(self.read, job_id, attempt, seen):
                    yield rest
                return
            async for piece in self._tail(job_id, attempt, seen):
                seen += len(piece)
                yield piece
            await self._sleep(_PAUSE_SECONDS)

    def read_all(self, job_id: str) -> str:
        """Read the output of all attempts so far, one after the other. Raises NotFound."""
        return "".join(self._text(job_id, attempt.number) for attempt in self._stored(job_id).attempts)

    async def follow_all(self, job_id: str) -> AsyncIterator[str]:
        """Stream the output of one attempt after the other, those that are yet to come too, until the job ends."""
        number, over = 1, False
        while not over:
            async for piece in self.follow(job_id, number):
                yield piece.decode()
            job = await asyncio.to_thread(self._stored, job_id)
            over = job.state.is_terminal and number >= len(job.attempts)
            number += 1

    async def _tail(self, job_id: str, attempt: int, offset: int) -> AsyncIterator[bytes]:
        """Stream what the runner has beyond an offset; ends when the runner ends it or is away."""
        position = 0
        runner = await asyncio.to_thread(self._runner, job_id)
        if runner is None:
            return
        try:
            async for text in runner.tail(f"{job_id}-{attempt}"):
                piece = text.encode()
                unseen = piece[max(0, offset - position) :]
                position += len(piece)
                if unseen:
                    yield unseen
        except TemporaryError:
            return

    def _text(self, job_id: str, attempt: int) -> str:
        kept = self._storage.log(job_id, attempt)
        if kept is None and (runner := self._runner(job_id)):
            kept = runner.logs(f"{job_id}-{attempt}")
        return kept or ""

    def _runner(self, job_id: str) -> JobRunner | None:
        """Give the runner of a job; None for a dedicated one that a platform without Kubernetes once ran."""
        return self._runners.get(self._stored(job_id).spec.cluster)

    def _is_over(self, job_id: str, number: int) -> bool:
        job = self._stored(job_id)
        if number > len(job.attempts):
            return job.state.is_terminal
        return job.attempts[number - 1].ended_at is not None
