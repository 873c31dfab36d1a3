"""What a job does that runs, and what it was about before it had to wait again."""

from platform_app.domain.explain import Cause, Source

_ANY = ".*"
TROUBLED = (
    Cause(
        "tracking-away",
        Source.OUTPUT,
        "running",
        r"waiting for MLflow \((?P<why>.*)\)",
        "it waits for MLflow, which does not answer: {why}",
        "see that MLflow runs; the job goes on by itself",
    ),
    Cause(
        "trying-again",
        Source.OUTPUT,
        "running",
        r"goes on after a failure: (?P<why>.*)",
        "it failed and is tried again: {why}",
        "mend that; it gives up after max_failures",
    ),
)

DOING = (
    Cause(
        "silent",
        Source.REPORT,
        "Silent",
        _ANY,
        "it runs and makes no progress: {message}",
        "see its output (slipway logs); a worker that hangs in a collective or in reading data ends with slipway stop",
    ),
    Cause("stopping", Source.REPORT, "Stopping", _ANY, "it was asked to stop and is ending", "", comes=True),
    Cause("training", Source.REPORT, "Training", _ANY, "it runs: {message}", "", comes=True),
    Cause("no-step-yet", Source.REPORT, "NoStep", _ANY, "it starts up: {message}", "", comes=True),
)

BEFORE = (
    Cause(
        "preempted",
        Source.END,
        "preempted",
        _ANY,
        "its workers were given to others: {message}",
        "it goes on from its last checkpoint when there is room",
    ),
    Cause(
        "cluster-lost",
        Source.END,
        "cluster-lost",
        _ANY,
        "{message}",
        "nothing: it is started again by itself",
    ),
    Cause(
        "driver-lost",
        Source.END,
        "driver-lost",
        _ANY,
        "{message}",
        "nothing: it is started again; where that happens often, give the head more memory",
    ),
)
