"""What keeps a job in its Kueue queue."""

from platform_app.domain.explain import Cause, Source

_ANY = ".*"
QUEUE = (
    Cause(
        "queue-too-small",
        Source.QUEUE,
        "ExceedsMaxQuota",
        _ANY,
        "it asks for more than its queue may ever have: {message}",
        "ask for fewer workers, or raise the ClusterQueue's quota",
    ),
    Cause(
        "queue-misconfigured",
        Source.QUEUE,
        "Misconfigured|Inadmissible",
        _ANY,
        "its queue cannot be used: {message}",
        "mend the LocalQueue or the ClusterQueue",
    ),
    Cause(
        "queue-no-flavor",
        Source.QUEUE,
        "NoMatchingFlavor|TopologyPlacementFailed",
        _ANY,
        "no flavor of its queue suits it: {message}",
        "add a ResourceFlavor for its nodes, or ask for other workers",
    ),
    Cause(
        "queue-stopped",
        Source.QUEUE,
        "Suspended|Deactivated",
        _ANY,
        "its queue takes no work now: {message}",
        "set the stopPolicy of the ClusterQueue or LocalQueue to None",
    ),
    Cause("queue-preempting", Source.QUEUE, "WaitingForPreemptedWorkloads", _ANY, "others make room for it", ""),
    Cause(
        "queue-full",
        Source.QUEUE,
        "WaitingForQuota|Pending",
        _ANY,
        "its queue has no quota left: {message}",
        "it starts when work before it ends",
    ),
    Cause("queue-pods-not-ready", Source.QUEUE, "WaitingForPodsReady", _ANY, "pods of work before it start up", ""),
    Cause(
        "queue-evicted", Source.QUEUE, "Preempted|PodsReadyTimeout|NodeFailures", _ANY, "it was evicted: {message}", ""
    ),
    Cause("queue-not-seen", Source.QUEUE, "PendingEvaluation", _ANY, "its queue has not looked at it yet", ""),
)
