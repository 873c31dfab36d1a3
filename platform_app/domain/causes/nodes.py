"""What keeps a pod from a node: the scheduler, and the autoscalers that add nodes."""

from platform_app.domain.explain import Cause, Source

_ANY = ".*"
NODES = (
    Cause(
        "nodes-limit",
        Source.EVENT,
        "NotTriggerScaleUp",
        r"max node group size reached|max cluster \w+ limit reached",
        "no more nodes may be added for {about}: {message}",
        "raise the node group's maximum, or wait for one to be free",
        rivals="nodes",
    ),
    Cause(
        "nodes-unsuited",
        Source.EVENT,
        "NotTriggerScaleUp",
        _ANY,
        "a new node would not help {about}: {message}",
        "see that a node group has the worker group's labels, taints and resources",
        rivals="nodes",
    ),
    Cause(
        "nodes-out-of-stock",
        Source.EVENT,
        "FailedScaleUp|InsufficientCapacityError|ScaleUpTimedOut",
        _ANY,
        "the cloud has no node for {about}: {message}",
        "it goes on trying; market: on-demand does not wait for spot",
        rivals="nodes",
    ),
    Cause(
        "nodepool-limit",
        Source.EVENT,
        "FailedScheduling",
        r"exceed limits? for nodepool|(?P<what>nodepool)s? .*limits? exceeded",
        "the NodePool may have no more nodes: {message}",
        "raise its limits, or wait for one to be free",
        rivals="nodes",
    ),
    Cause(
        "nodepool-unsuited",
        Source.EVENT,
        "FailedScheduling",
        r"incompatible with nodepool|no instance type|did not tolerate|label .* does not have known values",
        "no NodePool can make a node for {about}: {message}",
        "see that a NodePool has the worker group's labels, taints and resources",
        rivals="nodes",
    ),
    Cause(
        "node-coming",
        Source.EVENT,
        "TriggeredScaleUp|Nominated|NominatedNode",
        _ANY,
        "a node for {about} is being added",
        "",
        rivals="nodes",
        comes=True,
    ),
    Cause(
        "no-room",
        Source.POD,
        "Unschedulable",
        r"Insufficient (?P<resource>[\w./-]+)",
        "no node has {resource} free for {about}: {message}",
        "it starts when a node is added or work on one ends",
    ),
    Cause(
        "nodes-unsuited",
        Source.POD,
        "Unschedulable",
        r"didn't match Pod's node affinity/selector",
        "no node has the labels that {about} wants: {message}",
        "add such a node, or a node group that starts from zero with these labels",
    ),
    Cause(
        "nodes-tainted",
        Source.POD,
        "Unschedulable",
        r"untolerated taint(s|\(s\)| )?\s*(?P<taint>\{[^}]*\})?",
        "nodes have a taint {taint} that {about} does not tolerate: {message}",
        "tolerate it in the catalog's worker group",
    ),
    Cause("too-many-pods", Source.POD, "Unschedulable", "Too many pods", "nodes take no more pods: {message}", ""),
    Cause(
        "gated", Source.POD, "SchedulingGated", _ANY, "{about} is held back by a scheduling gate", "its queue lifts it"
    ),
    Cause("unschedulable", Source.POD, "Unschedulable", _ANY, "no node takes {about}: {message}", ""),
    Cause("going-away", Source.POD, "Terminating", _ANY, "{about} is going away and will be replaced", ""),
)
