"""What keeps a job in the platform's own queue, and its workers from coming: where workers are Ray's, not Kubernetes'.

The signs are `platform_app.domain.turn`'s and `platform_app.domain.supply`'s, whose messages are sentences already.
"""

from platform_app.domain.explain import Cause, Source

_ANY = ".*"
AWAY = (
    Cause(
        "reconciler-away",
        Source.ADMISSION,
        "NoReconciler",
        _ANY,
        "nothing is started now: {message}",
        "see that the platform runs: slipway status",
    ),
    Cause(
        "ray-away",
        Source.API,
        "Away",
        _ANY,
        "the cluster that would run it does not answer: {message}",
        "it is asked again all the time; see slipway status",
    ),
)

REFUSED = (Cause("not-submitted", Source.API, "NotSubmitted", _ANY, "it cannot be started yet: {message}", ""),)

QUEUE = (
    Cause(
        "no-tier",
        Source.ADMISSION,
        "NoTier",
        _ANY,
        "{message}",
        "put the tier back into the catalog, or submit the job with another",
    ),
    Cause(
        "never-fits",
        Source.ADMISSION,
        "NeverFits",
        _ANY,
        "it can never run on this catalog: {message}",
        "ask for less, or enlarge the catalog's worker groups",
    ),
    Cause(
        "team-quota",
        Source.ADMISSION,
        "Quota",
        _ANY,
        "{message}",
        "it starts when other work of the team ends, or when an admin raises the quota (slipway teams --help)",
    ),
    Cause("queue-behind", Source.ADMISSION, "Behind", _ANY, "{message}", "it starts when those ahead have had theirs"),
    Cause("groups-full", Source.ADMISSION, "Full", _ANY, "{message}", "it starts when enough of these jobs end"),
    Cause("making-room", Source.ADMISSION, "MakingRoom", _ANY, "{message}", "", comes=True),
    Cause("queue-next", Source.ADMISSION, "Next", _ANY, "{message}", "", comes=True),
)

WORKERS = (
    Cause(
        "launch-failed",
        Source.WORKERS,
        "LaunchFailed",
        _ANY,
        "workers of {about} cannot be started: {message}",
        "the autoscaler goes on trying; see its log, monitor.log",
    ),
    Cause(
        "out-of-stock",
        Source.WORKERS,
        "OutOfStock",
        r"; (?P<next>\S+) is asked next",
        "{about} is out of stock: {message}",
        "the autoscaler asks {next} by itself when it has waited long enough",
    ),
    Cause(
        "out-of-stock",
        Source.WORKERS,
        "OutOfStock",
        _ANY,
        "{about} is out of stock: {message}",
        "it goes on when the market has workers again",
    ),
    Cause(
        "worker-group-full",
        Source.WORKERS,
        "AtMaximum",
        _ANY,
        "{message}, and its own are not among them",
        "it goes on when others let workers go, or when the catalog's max_workers is raised",
    ),
)

COMING = (
    Cause("workers-launching", Source.WORKERS, "Launching", _ANY, "{message}", "", comes=True),
    Cause("workers-not-asked", Source.WORKERS, "NotAsked", _ANY, "{message}", "", comes=True),
)

DRIVER = (
    Cause(
        "driver-slow",
        Source.RAY,
        "Slow",
        _ANY,
        "Ray has not begun it yet: {message}",
        "see that the head has memory and processor time to spare",
    ),
    Cause(
        "runtime-env-slow",
        Source.RAY,
        "SlowRuntimeEnv",
        _ANY,
        "Ray has not made its environment ready yet: {message}",
        "Ray tries a failing pip install three times before it says so; what is in the platform's image needs no pip",
    ),
    Cause("runtime-env", Source.RAY, "RuntimeEnv", _ANY, "Ray makes its environment ready: {message}", "", comes=True),
    Cause("driver-starting", Source.RAY, "Starting", _ANY, "its driver is being started", "", comes=True),
)
