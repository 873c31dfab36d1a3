"""What explains a wait where nothing else does, and what is on its way."""

from platform_app.domain.explain import Cause, Source

_ANY = ".*"
AWAY = (
    Cause(
        "api-away",
        Source.API,
        _ANY,
        _ANY,
        "not all can be known: {message}",
        "",
    ),
)

STARTING = (
    Cause(
        "quota-used-up",
        Source.QUOTA,
        _ANY,
        _ANY,
        "its namespace's quota is used up: {message}",
        "it starts when another job of the team ends, or when the quota is raised",
    ),
    Cause(
        "head-not-ready",
        Source.CONTAINER,
        "PodInitializing",
        _ANY,
        "{about} waits for the head of its cluster",
        "",
        comes=True,
    ),
    Cause("image-pulling", Source.EVENT, "Pulling", _ANY, "{about} fetches its image", "", comes=True),
    Cause(
        "container-starting", Source.CONTAINER, "ContainerCreating", _ANY, "{about} is being started", "", comes=True
    ),
    Cause(
        "operator-away",
        Source.RAY_JOB,
        "New|",
        _ANY,
        "the KubeRay operator has not looked at it yet",
        "see that the operator runs (kubectl get pods -A -l app.kubernetes.io/name=kuberay-operator)",
    ),
    Cause("suspended", Source.RAY_JOB, "Suspended|Suspending", _ANY, "it is suspended until its queue admits it", ""),
    Cause(
        "cluster-starting",
        Source.RAY_JOB,
        "Initializing|Waiting|Retrying",
        _ANY,
        "its cluster is being started",
        "",
        comes=True,
    ),
)
