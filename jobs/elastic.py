"""How many workers an elastic run takes: as many as it may have, once there is room for them.

A run asks for room beside the workers that it has, and trains on until the room is there: what cannot be had, because
others hold it, the market is out of it or the cluster ends there, is waited for by nobody.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import ray

from jobs.notice import is_draining
from jobs.placement import bundle, labels
from platform_app.specs import Grant, WorkerResources

START_PATIENCE_SECONDS = 10.0
"""How long a run that could start waits for more: nodes come in twos and threes, and what workers before held is free
again a moment after they ended."""
GROW_PATIENCE_SECONDS = 30.0
"""How long a run that could grow waits to grow by more, since each resize costs it some seconds."""


class Room(Protocol):
    """Room for one worker, asked of the cluster."""

    def is_there(self) -> bool:
        """Say whether it is held for us."""

    def give_back(self) -> None:
        """Let go of it, there or not."""


class PlacedRoom:
    """A placement group of one worker; Ray's autoscaler starts nodes for it, and it ends with the driver."""

    def __init__(self, resources: WorkerResources) -> None:
        self._group = ray.util.placement_group([bundle(resources)], bundle_label_selector=[labels(resources)])

    def is_there(self) -> bool:
        """Ask Ray whether it is on a node, and on one that stays."""
        told = ray.util.placement_group_table(self._group)
        return told.get("state") == "CREATED" and not any(map(is_draining, told["bundles_to_node_id"].values()))

    def give_back(self) -> None:
        """Remove it."""
        ray.util.remove_placement_group(self._group)


class Reserve:
    """Room that a run has asked for, and not yet taken.

    Args:
        ask: asks for room for one more worker.
        clock: in seconds.
        sleep: waits so many seconds.
    """

    def __init__(
        self,
        ask: Callable[[], Room],
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._ask = ask
        self._clock = clock
        self._sleep = sleep
        self._rooms: list[Room] = []
        self._since: float | None = None
        """When the first room was there, of those by which a run could grow."""

    def growth(self, wanted: int) -> int:
        """Give by how many workers a run can grow now: by all that it wants, or by fewer after some patience."""
        there, now = self._hold(wanted), self._clock()
        if not there:
            self._since = None
        elif self._since is None:
            self._since = now
        late = self._since is not None and now - self._since >= GROW_PATIENCE_SECONDS
        return there if there == wanted or late else 0

    def start(self, fewest: int, wanted: Callable[[], int]) -> int:
        """Wait until there is room for a start, and for a moment for more; the room is let go, to be taken at once.

        Args:
            fewest: workers without which the run does not start.
            wanted: says how many it would take now.

        Returns:
            How many workers to start.
        """
        since = None
        while (there := self._hold(most := wanted())) < most:
            if there >= fewest:
                since = self._clock() if since is None else since
                if self._clock() - since >= START_PATIENCE_SECONDS:
                    break
            self._sleep(0.2)
        self._hold(0)
        self._since = None
        return there

    def _hold(self, number: int) -> int:
        """Have room for so many workers asked for, and no more, and count what is there."""
        is_there = {room: room.is_there() for room in self._rooms}
        self._rooms.sort(key=lambda room: not is_there[room])
        while len(self._rooms) > number:
            self._rooms.pop().give_back()
        while len(self._rooms) < number:
            self._rooms.append(self._ask())
        return sum(is_there.get(room, False) for room in self._rooms)


def most(resources: WorkerResources, grant: Path, at_most: int | None = None) -> int:
    """Say how many workers a run may have: the platform's word if it has spoken, and never fewer than `min`.

    Args:
        resources: what the run asks for.
        grant: the file of the platform's word.
        at_most: workers that it takes, whatever it may have.
    """
    bound = at_most or resources.max_workers
    return max(min(read_grant(grant) or bound, bound), resources.min_workers)


def is_to_leave(path: Path, attempt: int) -> bool:
    """Say whether the platform has told an attempt to commit a checkpoint and end."""
    told = _read(path)
    return told is not None and told.leave == attempt


def read_grant(path: Path) -> int | None:
    """Read how many workers the platform grants; None when it has not spoken."""
    told = _read(path)
    return told.num_workers if told else None


def _read(path: Path) -> Grant | None:
    try:
        return Grant.model_validate_json(path.read_bytes())
    except (OSError, ValueError):
        return None
