"""A workload that leaves a file for each epoch that it has trained, named for the trial's point and the epoch.

What was trained, how often and when is read from these files alone, and from nothing that the platform says of itself.
"""

import secrets
import time
from pathlib import Path

from tiny import tiny

from jobs.workload import Workload


def make(config: dict) -> Workload:
    """Build it.

    Args:
        config: `x`, the trial's point, which is its score too; `folder`, for the files; and `seconds`, of an epoch.
    """

    def leave_a_file(epoch: int, _lr: float) -> None:
        time.sleep(config["seconds"])
        Path(config["folder"], f"{config['x']!r} {epoch} {secrets.token_hex(4)}").touch()

    return tiny(config["x"], leave_a_file)
