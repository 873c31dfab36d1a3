"""Why a job is as it is: from what is known of it to one sentence, and what would unblock it.

Whatever is known of a job is a *sign*: its place in the queue, a worker group that is full, a pod's condition, an
event, a line of its output. A table of causes (`platform_app.domain.causes`) says what each sign means, the one that
explains most first. A new layer (another queue, a budget) adds signs of a source of its own, and causes to the table.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

_LONGEST_MESSAGE = 400
_NEVER = datetime.min.replace(tzinfo=UTC)


class Source(StrEnum):
    """Who says it."""

    ADMISSION = "admission"
    """The platform's own queue."""
    WORKERS = "workers"
    """A worker group: how many it has, and what became of those that were asked for."""
    RAY = "ray"
    """What Ray says of the attempt's job."""
    REPORT = "report"
    """What the attempt says of itself."""
    END = "end"
    """Why an attempt ended, as the ledger has it: `Reason`."""
    OUTPUT = "output"
    """A line of the attempt's output."""
    API = "api"
    """What we were told when we asked: refused, or no answer."""
    RAY_JOB = "ray-job"
    """Status of the RayJob: `jobDeploymentStatus`, or its `reason` where it has one."""
    QUEUE = "queue"
    """A condition of Kueue's Workload."""
    POD = "pod"
    """The pod's condition `PodScheduled`, or its deletion."""
    CONTAINER = "container"
    """Why a container waits or has stopped."""
    EVENT = "event"
    """A Kubernetes event about the job's objects."""
    QUOTA = "quota"
    """A line of a ResourceQuota that is used up."""


@dataclass(frozen=True)
class Sign:
    """One thing that is known of a job."""

    source: Source
    reason: str
    """One word, as Kubernetes writes it: `Unschedulable`, `ImagePullBackOff`, `FailedMount`."""
    message: str = ""
    about: str = ""
    """What it is said of, for a person: `the head`, `a worker of gpu-spot`."""
    at: datetime | None = None
    """When it was last said; None where it is so now."""


@dataclass(frozen=True)
class Cause:
    """What a sign means: a row of the table."""

    name: str
    source: Source
    reason: str
    """Regular expression over the whole of `Sign.reason`."""
    message: str
    """Regular expression found in `Sign.message`; its named groups fill the sentences."""
    why: str
    """Sentence with `{about}`, `{message}`, `{reason}` and the groups of `message`."""
    unblock: str
    """What would change it, the same way; empty where waiting is all there is to do."""
    rivals: str = ""
    """Causes of one such group speak of the same thing at different times: the newest alone is believed."""
    comes: bool = False
    """Nothing is in the way: what the job waits for is being made, or it is doing its work."""


@dataclass(frozen=True)
class Explanation:
    """Why a job is as it is."""

    cause: str
    why: str
    unblock: str
    comes: bool = False
    """As `Cause.comes`."""
    evidence: tuple[Sign, ...] = ()
    """The signs that say so."""

    @property
    def sentence(self) -> str:
        """Why, and what would unblock it."""
        return f"{self.why}; {self.unblock}" if self.unblock else self.why


def explain(signs: Iterable[Sign], causes: Sequence[Cause]) -> tuple[Explanation, ...]:
    """Explain why a job is as it is, the most telling cause first; nothing where no sign means anything.

    Args:
        signs: what is known of the job.
        causes: what signs mean, the most telling first.
    """
    found: dict[int, list[tuple[Sign, re.Match[str]]]] = {}
    for sign in signs:
        for rank, cause in enumerate(causes):
            if match := _match(cause, sign):
                found.setdefault(rank, []).append((sign, match))
                break
    newest = {rank: max(_when(sign) for sign, _ in matches) for rank, matches in found.items()}
    believed = [
        rank
        for rank in sorted(found)
        if not (group := causes[rank].rivals)
        or all(newest[rank] >= newest[other] for other in found if causes[other].rivals == group)
    ]
    return tuple(_told(causes[rank], found[rank]) for rank in believed)


def _match(cause: Cause, sign: Sign) -> re.Match[str] | None:
    if sign.source is not cause.source or not re.fullmatch(cause.reason, sign.reason):
        return None
    return re.search(cause.message, sign.message, re.IGNORECASE | re.DOTALL)


def _told(cause: Cause, matches: Sequence[tuple[Sign, re.Match[str]]]) -> Explanation:
    sign, match = max(matches, key=lambda one: _when(one[0]))
    message = sign.message if len(sign.message) <= _LONGEST_MESSAGE else f"{sign.message[:_LONGEST_MESSAGE]}…"
    others = len(matches) - 1
    about = f"{sign.about} (and {others} more)" if others and sign.about else sign.about
    words = {"about": about, "reason": sign.reason, "message": message.strip().rstrip("."), **match.groupdict("")}
    evidence = tuple(sign for sign, _ in matches)
    return Explanation(cause.name, cause.why.format(**words), cause.unblock.format(**words), cause.comes, evidence)


def _when(sign: Sign) -> datetime:
    return sign.at or _NEVER
