"""Traces of real spot markets, played back at a chosen speed."""

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, ValidationError

from platform_app.domain.validation import field_problems
from platform_app.errors import FieldProblem, InvalidRequest
from platform_app.local import market
from platform_app.local.state import ClusterState

_PROBLEMS = 5
"""So many are told of a file; a thousand samples may have a thousand."""


class _Metadata(BaseModel):
    gap_seconds: float = Field(gt=0, allow_inf_nan=False)


class Trace(BaseModel):
    """How many nodes were alive, sampled at even distances."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    metadata: _Metadata
    """`gap_seconds`: time from one sample to the next."""
    data: tuple[NonNegativeInt, ...] = Field(min_length=1)
    """Nodes alive, one number for each sample."""

    @property
    def seconds(self) -> float:
        """How long the real market was watched."""
        return self.metadata.gap_seconds * len(self.data)


@dataclass(frozen=True)
class Change:
    """From a moment on, so many nodes can be had."""

    at_seconds: float
    """Since the replay began, at its speed."""
    alive: int


def read_trace(path: Path) -> Trace:
    """Read a file of the form `{"metadata": {"gap_seconds": n}, "data": [alive, ...]}`.

    Raises:
        InvalidRequest: it cannot be read or has another form; each problem is named with its place.
    """
    try:
        return Trace.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InvalidRequest(FieldProblem(str(path), f"cannot be read: {error.strerror}")) from error
    except ValidationError as error:
        raise InvalidRequest(*field_problems(error.errors(), Trace)[:_PROBLEMS]) from error


def schedule(trace: Trace, speed: float) -> tuple[Change, ...]:
    """Say when which number holds, at `speed` times real time; samples that change nothing are left out.

    Raises:
        InvalidRequest: the speed is not a positive number.
    """
    if not 0 < speed < float("inf"):
        raise InvalidRequest(FieldProblem("speed", f"must be more than 0 and finite, not {speed:g}"))
    gap = trace.metadata.gap_seconds / speed
    before: list[int | None] = [None, *trace.data]
    return tuple(Change(place * gap, alive) for place, alive in enumerate(trace.data) if alive != before[place])


def replay(
    state: ClusterState,
    group: str,
    trace: Trace,
    speed: float,
    notice_seconds: float = 30.0,
    wait: Callable[[float], None] = time.sleep,
) -> Generator[Change]:
    """Let the stock of a group follow a trace; when that ends, or is closed, the group is in stock again.

    Args:
        state: the cluster.
        group: the worker group.
        trace: what the market did.
        speed: seconds of the trace for one second here.
        notice_seconds: seconds here, not of the trace, from a notice to the kill; 0 for none.
        wait: sleeps for so many seconds.

    Yields:
        Each change, once the cluster has taken it up.

    Raises:
        InvalidRequest, NotFound, TemporaryError: as `market.stock`.
    """
    changes = schedule(trace, speed)
    begun = time.monotonic()
    try:
        for change, until in zip(changes, [*(c.at_seconds for c in changes[1:]), trace.seconds / speed], strict=True):
            market.stock(state, group, change.alive, notice_seconds=notice_seconds)
            yield change
            wait(max(0.0, begun + until - time.monotonic()))
    finally:
        market.stock(state, group, None)
