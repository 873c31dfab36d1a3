"""The keeper of a local cluster: it starts again what is gone, under the same address, so that clients simply go on.

Gone is what refuses connections: its process has died. What is slow, busy or stopped is left alone, for who is killed
for being slow loses the work that made it so. Ray's processes do not come back one by one: without any one of those
that the head consists of, all of Ray is started anew, and the reconciler continues the jobs from their checkpoints.

    python -m platform_app.local.keeper HOME [COMMAND THAT DEPLOYS THE CONTROL PLANE]
"""

import logging
import math
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from platform_app.errors import SlipwayError
from platform_app.local.cluster import CONTROL_PLANE, LocalCluster
from platform_app.local.components import Component
from platform_app.local.network import refuses
from platform_app.local.state import ClusterState

_log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.5
_LOOKS = 2
"""In so many looks in a row a component must be gone: one alone may have met a process that was just starting."""
_CALM_SECONDS = 120.0
"""A component that lived so long is started again at once when it dies."""
_START_SECONDS = 300.0
"""A start may take so long here: what else is at work on the machine may be what has cost the component its life."""
_PAUSES = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0)
"""Seconds from the end of a start to the next one, by the number of starts in a row."""


class Patience:
    """Decides when one component is started: at once, and after each further start in a row later than before."""

    def __init__(self) -> None:
        self.starts = 0
        """Starts in a row."""
        self.failed = False
        """The last start did not succeed."""
        self._looks = 0
        self._ended_at = -math.inf

    def is_due(self, gone: bool, now: float) -> bool:
        """Take a look into account and say whether the component is to be started now.

        Args:
            gone: what the look has shown.
            now: in seconds; it never goes back.
        """
        self._looks = self._looks + 1 if gone else 0
        if not gone:
            self.failed = False
            if now - self._ended_at >= _CALM_SECONDS:
                self.starts = 0
        return self._looks >= _LOOKS and now >= self.next_at

    def ended(self, well: bool, now: float) -> None:
        """Take note that a start has succeeded, or failed."""
        self.starts += 1
        self.failed = not well
        self._looks = 0
        self._ended_at = now

    @property
    def next_at(self) -> float:
        """When it may be started next."""
        return self._ended_at + _PAUSES[min(self.starts, len(_PAUSES) - 1)]


class Keeper:
    """Watches one cluster.

    Args:
        cluster: what starts its components.
        state: the cluster as it was started.
    """

    def __init__(self, cluster: LocalCluster, state: ClusterState) -> None:
        self._cluster = cluster
        self._state = state
        self._parts = cluster.components(state)
        self._patience = {part.name: Patience() for part in self._parts if part.ports}
        self._say("watches")

    def run(self) -> None:
        """Watch until the cluster is ended."""
        while self._cluster.is_current(self._state):
            for name, patience in self._patience.items():
                parts = [part for part in self._parts if name in (part.name, part.within)]
                if patience.is_due(is_gone(parts, patience.failed), time.monotonic()):
                    self._start_again(name, parts, patience)
            time.sleep(_LOOK_SECONDS)

    def _start_again(self, name: str, parts: Sequence[Component], patience: Patience) -> None:
        begun = time.monotonic()
        self._say(f"{name} is gone: starts it again since {_now()}")
        try:
            self._cluster.start_again(self._state, parts)
        except (SlipwayError, OSError) as error:
            patience.ended(False, time.monotonic())
            wait = patience.next_at - time.monotonic()
            _log.error("%s", error)
            reason = str(error).splitlines()[0]
            self._say(f"{name} did not start again ({patience.starts} in a row; next in {wait:.0f} s): {reason}")
        else:
            patience.ended(True, time.monotonic())
            again = f", {patience.starts} times in a row" if patience.starts > 1 else ""
            self._say(f"watches; started {name} again at {_now()} in {time.monotonic() - begun:.0f} s{again}")

    def _say(self, sentence: str) -> None:
        _log.info("%s", sentence)
        note = self._state.keeper_note
        try:
            note.with_suffix(".new").write_text(sentence)
            note.with_suffix(".new").replace(note)
        except OSError as error:  # a full disk keeps nobody from starting anything
            _log.warning("this could not be noted for `slipway status`: %s", error)


def is_gone(parts: Sequence[Component], failed: bool) -> bool:
    """Say whether a component, or after a failed start anything that runs in it, is not there."""
    refused = any(refuses(port) for part in parts for port in part.ports)
    return refused or (failed and not all(part.ready() for part in parts))


def _now() -> str:
    return f"{datetime.now():%H:%M:%S}"


def main() -> None:
    """Keep the cluster of a home until it is ended."""
    home, *control_plane = sys.argv[1:]
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.INFO)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    cluster = LocalCluster(Path(home), tuple(control_plane) or CONTROL_PLANE, _START_SECONDS)
    if state := cluster.state:
        Keeper(cluster, state).run()


if __name__ == "__main__":
    main()
