"""Who answers while a candidate is tried: the splitter that sits between a stable replica's doors and its model.

A stable replica answers the champion's share itself, in one hop, and hands the candidate's share over by a Serve
handle. Weights and modes come by `reconfigure`: nothing restarts. A request that the candidate fails, refuses or keeps
too long is answered by the champion after all, and counted against the candidate: a bad candidate costs latency, not
answers.
"""

import asyncio
import hashlib
import logging
import math
import random
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress

from platform_app.specs import Split, Strategy
from serve.exchange import Answer, Question
from serve.tallies import Reference, Tally

_log = logging.getLogger("ray.serve")

Ask = Callable[[Question], Awaitable[Answer]]
Report = Callable[[int, Iterable[Tally]], None]

REPORT_SECONDS = 1.0
"""Between two times that a replica tells what it counts."""
_MOST_MIRRORED = 16
"""Copies on their way to the candidate at one time, from one replica; more are left out."""
_LEAST_PATIENCE = 1.0
"""Seconds that the candidate has for an answer at least."""
_PATIENCE = 10
"""How often the champion's 95th percentile the candidate may take before the champion is asked instead."""


def candidate_deployment(revision: int) -> str:
    """Name the Serve deployment of a candidate; each has its own, so that none inherits what another left."""
    return f"{_CANDIDATE}{revision}"


def is_candidate(serve_deployment: str) -> bool:
    """Tell a candidate's Serve deployment by its name."""
    return serve_deployment.startswith(_CANDIDATE)


_CANDIDATE = "candidate-"


class Splitter:
    """Decides for each question of one stable replica which version answers, and counts what both do."""

    def __init__(self, candidate: Callable[[int], Ask], report: Report, chance: random.Random | None = None) -> None:
        """Start with all questions answered here.

        Args:
            candidate: gives, for a revision, what asks its replicas.
            report: tells a rollout's totals; called each second while one is under way.
            chance: draws who answers.
        """
        self._candidate = candidate
        self._report = report
        self._chance = chance or random.Random()  # noqa: S311  # no secret hangs on it
        self._split: Split | None = None
        self._there: Ask | None = None
        self._tallies: dict[int, Tally] = {}
        self._reference = Reference()
        self._reporting: asyncio.Task[None] | None = None
        self._mirrored: set[asyncio.Task[None]] = set()

    @property
    def is_active(self) -> bool:
        """True while a candidate gets anything."""
        return self._split is not None

    def reconfigure(self, split: Split | None) -> None:
        """Take another share."""
        before, self._split = self._split, split
        if split is None:
            self._there = None
            return
        if before is None or before.candidate.revision != split.candidate.revision:
            self._tallies, self._reference = {}, Reference()
            self._there = self._candidate(split.candidate.revision)
        self._tallies.setdefault(split.step, Tally(split.step))

    async def answer(self, question: Question, here: Ask) -> Answer:
        """Have a question answered by the version whose it is; `here` asks this replica's own."""
        split, there = self._split, self._there
        if split is None or there is None:
            return await here(question)
        if self._reporting is None or self._reporting.done():
            self._reporting = asyncio.get_running_loop().create_task(self._tell())
        tally, position = self._tallies[split.step], self._position(split, question)
        if position is None:
            return await here(question)  # it is no part of the experiment, and not counted
        falls_to_candidate = position * 100 < split.weight
        if split.strategy is Strategy.SHADOW:
            return await self._mirror(question, here, there, tally) if falls_to_candidate else await here(question)
        if falls_to_candidate:
            return await self._try(question, here, there, tally)
        return await self._champion(question, here, tally)

    def _position(self, split: Split, question: Question) -> float | None:
        """Place a question between 0 and 1, by chance or by its caller's key; None where the caller has none."""
        if split.strategy is not Strategy.AB:
            return self._chance.random()
        key = question.header(split.key_header.encode())
        return key_position(split.candidate.revision, key) if key else None

    async def _champion(self, question: Question, here: Ask, tally: Tally) -> Answer:
        answer = await here(question)
        is_error = answer.status >= 500
        tally.champion.add(self._reference, answer.seconds, answer.score, is_error)
        if not is_error:
            self._reference.saw(answer.seconds, answer.score)
        return answer

    async def _try(self, question: Question, here: Ask, there: Ask, tally: Tally) -> Answer:
        answer = await self._ask(question, there)
        if answer is not None and answer.status < 400:
            tally.candidate.add(self._reference, answer.seconds, answer.score, is_error=False)
            return answer
        ours = await here(question)
        self._judge(answer, ours, tally)
        tally.rescued += ours.status < 400
        return ours

    def _judge(self, theirs: Answer | None, ours: Answer, tally: Tally) -> None:
        """Count an answer of the candidate that is no success: what the champion refuses too is the client's fault."""
        is_error = theirs is None or theirs.status >= 500 or ours.status < 400
        tally.candidate.add(self._reference, theirs.seconds if theirs else 0.0, None, is_error)

    async def _ask(self, question: Question, there: Ask) -> Answer | None:
        """Ask the candidate; None where it does not answer in time, or dies."""
        patience = max(_LEAST_PATIENCE, _PATIENCE * (self._reference.slow or 0))
        try:
            async with asyncio.timeout(patience):
                return await there(question)
        except Exception as error:
            _log.info("the candidate gave no answer: %s", error or type(error).__name__)
            return None

    async def _mirror(self, question: Question, here: Ask, there: Ask, tally: Tally) -> Answer:
        """Answer here, and let the candidate answer a copy that nobody waits for."""
        if len(self._mirrored) >= _MOST_MIRRORED:
            tally.left_out += 1
            return await here(question)
        ours = await self._champion(question, here, tally)
        task = asyncio.get_running_loop().create_task(self._compare(question, ours, there, tally))
        self._mirrored.add(task)
        task.add_done_callback(self._mirrored.discard)
        return ours

    async def _compare(self, question: Question, ours: Answer, there: Ask, tally: Tally) -> None:
        theirs = await self._ask(question, there)
        if theirs is None or theirs.status >= 400:
            self._judge(theirs, ours, tally)
            return
        tally.candidate.add(self._reference, theirs.seconds, theirs.score, is_error=False)
        if ours.status < 400:
            tally.compared += 1
            tally.differed += not _alike(theirs.score, ours.score)

    async def _tell(self) -> None:
        while self._split is not None:
            revision = self._split.candidate.revision
            self._reference.refresh()
            with suppress(Exception):  # it told the log; the totals are told again
                self._report(revision, self._tallies.values())
            await asyncio.sleep(REPORT_SECONDS)


def _alike(one: float | None, other: float | None) -> bool:
    """Compare two scores; the same arithmetic on another number of rows differs in the last digits."""
    return one == other or (one is not None and other is not None and math.isclose(one, other, rel_tol=1e-4))


def key_position(salt: int, key: str) -> float:
    """Place a caller's key between 0 and 1: always the same in one rollout, and unlike any other rollout's place."""
    digest = hashlib.sha256(f"{salt}/{key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
