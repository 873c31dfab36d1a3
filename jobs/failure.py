"""Why an attempt fails, told in one line: what was raised, and where in the user's own code."""

import re
import traceback

from platform_app.specs import FailureCause

MAX_LOSSES_WITHOUT_PROGRESS = 10
"""Workers may be lost any number of times, but not more often in a row while what they do gets no further."""

_FRAME = re.compile(r'^ *File "(?P<file>[^"]+)", line (?P<line>\d+), in (?P<function>.+)$', re.MULTILINE)
_OURS = tuple(f"/jobs/{name}.py" for name in ("checkpoints", "loop", "saver", "seat", "sharding", "state", "worker"))
_NOT_THE_USERS = ("/site-packages/", "/dist-packages/", "/lib/python3", "<frozen", *_OURS)


class JobFailed(Exception):
    """The attempt ends FAILED, for a reason that a person understands and that trying again does not mend."""

    def __init__(self, cause: FailureCause | None, message: str) -> None:
        self.cause = cause
        self.message = message
        super().__init__(cause, message)  # both, so that it survives pickling

    def __str__(self) -> str:
        return self.message


class UserCodeFailed(Exception):
    """What a user's code raised in a training worker, told in one line. Trying again may help."""


def tells_of_a_lost_peer(error: BaseException) -> bool:
    """Say whether a worker raised this because it cannot reach another: it is the other's trouble, not its own."""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    # torch names the errors of NCCL and of its store; gloo's are plain ones, that tell of the place in gloo.
    return "DistError" in kinds or ("RuntimeError" in kinds and "gloo/" in str(error))


def describe(error: BaseException) -> str:
    """Tell an exception in one line."""
    return describe_traceback("".join(traceback.format_exception(error)))


def describe_traceback(text: str) -> str:
    """Tell a traceback in one line: `ValueError: too big (train.py:12 in make)`.

    The place is the innermost frame of the user's code; without one there is no place.

    Args:
        text: a traceback as Python prints it, or any text around one.
    """
    # Chained exceptions print their causes first: the last part is what ended the attempt.
    last = text.rpartition("Traceback (most recent call last):")[2]
    frames = list(_FRAME.finditer(last))
    after = last[frames[-1].end() :] if frames else last
    # The lines of source and their markers are indented, what was raised is not.
    raised = [line.strip() for line in after.splitlines() if line.strip() and (not frames or not line.startswith("  "))]
    summary = raised[0] if raised else "it gave no reason"
    users = [frame for frame in frames if not any(part in frame["file"] for part in _NOT_THE_USERS)]
    if not users:
        return summary
    return f"{summary} ({users[-1]['file'].rpartition('/')[2]}:{users[-1]['line']} in {users[-1]['function']})"
