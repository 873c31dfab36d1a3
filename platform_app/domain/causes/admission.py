"""What was refused: by admission of the API server, and by the KubeRay operator."""

from platform_app.domain.explain import Cause, Source

_ANY = ".*"
_CREATION = r"Failed\w*(Pod|Create)\w*|FailedToCreate\w*|FailedCreate|Forbidden|Invalid"
"""Events of the operator and of Kubernetes' Job controller where a pod was refused, and refusals of our own calls."""


def _refused(name: str, message: str, why: str, unblock: str) -> tuple[Cause, ...]:
    """Give the cause of a refused creation, whether the operator's or ours was refused."""
    return (
        Cause(name, Source.EVENT, _CREATION, message, why, unblock),
        Cause(name, Source.API, _ANY, message, why, unblock),
    )


ADMISSION = (
    *_refused(
        "namespace-terminating",
        r"(?P<namespace>\S+) because it is being terminated",
        "the namespace {namespace} is being deleted",
        "it starts when the namespace is there again: apply the team's manifests once it has gone",
    ),
    *_refused(
        "quota-exceeded",
        r"exceeded quota: (?P<quota>\S+), requested: (?P<requested>.+?), used: (?P<used>.+?), "
        r"limited: (?P<limited>\S+)",
        "the quota {quota} of its namespace is used up: it asks for {requested}, used is {used} of {limited}",
        "it starts when another job of the team ends, or when the quota is raised",
    ),
    *_refused(
        "quota-needs-requests",
        r"failed quota: (?P<quota>\S+?): must specify (?P<missing>.+)",
        "the quota {quota} wants every container to state {missing}",
        "add a LimitRange with defaults to the namespace",
    ),
    *_refused(
        "limit-range",
        r"(?P<which>maximum|minimum) (?P<resource>\S+) usage per \w+ is (?P<bound>[^\s,]+),? "
        r"but \w+ is (?P<got>\S+?)\.?$",
        "the namespace's LimitRange allows a {which} of {bound} {resource}; asked for is {got}",
        "take a smaller worker group, or raise the LimitRange",
    ),
    *_refused(
        "no-priority-class",
        r"no PriorityClass with name (?P<name>\S+) was found",
        "the cluster has no PriorityClass {name}",
        "apply k8s/bootstrap",
    ),
    *_refused(
        "pod-security",
        r'violates PodSecurity "(?P<level>[^"]+)": (?P<what>.+)',
        "the namespace's pod security level {level} forbids its pods: {what}",
        "mend the catalog's worker group, or the namespace's label pod-security.kubernetes.io/enforce",
    ),
    *_refused(
        "no-service-account",
        r'(serviceaccount|service account) "?(?P<name>[^" ]+)"? .*not found',
        "its namespace has no service account {name}",
        "apply the team's manifests",
    ),
    *_refused(
        "webhook-away",
        r'failed calling webhook "(?P<name>[^"]+)": (?P<what>.+)',
        "the admission webhook {name} does not answer: {what}",
        "see that the pods of that webhook run",
    ),
    *_refused(
        "webhook-refused",
        r'admission webhook "(?P<name>[^"]+)" denied the request: (?P<what>.+)',
        "the admission webhook {name} refuses it: {what}",
        "",
    ),
    # Ours are told by the adapter, which knows the role.
    Cause(
        "no-permission",
        Source.EVENT,
        _CREATION,
        r'"(?P<user>[^"]+)" cannot (?P<verb>\w+) resource "(?P<resource>[^"]+)"',
        "{user} may not {verb} {resource}: {message}",
        "add the verb to its Role",
    ),
)

RAY_JOB = (
    Cause(
        "refused-by-operator",
        Source.RAY_JOB,
        "ValidationFailed",
        _ANY,
        "the KubeRay operator refuses it: {message}",
        "mend the catalog's worker groups, then submit again",
    ),
    Cause(
        "refused-by-operator",
        Source.EVENT,
        r"Invalid\w*(Spec|Metadata|Status)|ValidateRay\w+",
        _ANY,
        "the KubeRay operator refuses it: {message}",
        "mend the catalog's worker groups, then submit again",
    ),
)
