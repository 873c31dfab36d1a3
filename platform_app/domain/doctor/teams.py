"""Tiers and teams: PriorityClasses, and each team's namespace with its quotas, defaults, rights and queue."""

from collections.abc import Iterator

from platform_app.domain.doctor.finding import APPLY, Finding, error, warning
from platform_app.domain.doctor.quantity import amount
from platform_app.domain.doctor.snapshot import (
    Object,
    Snapshot,
    Wanted,
    condition,
    name_of,
    namespaces_there,
    ray_cluster,
    templates,
    variables,
)

_BOOTSTRAP = "kubectl apply --server-side -k k8s/bootstrap"
_EVALUATED = ("requests.", "count/")
"""Beginnings of a quota's lines that count what is not Kubernetes' own, such as GPUs."""


def priority_classes(cluster: Snapshot, wanted: Wanted) -> Iterator[Finding]:
    """See that the classes are those of the catalog's tiers: a pod that names an absent one is refused."""
    there = {one["metadata"]["name"]: one for one in cluster.all("PriorityClass")}
    rendered = {one["metadata"]["name"]: one for one in wanted.priority_classes}
    if absent := sorted(rendered.keys() - there.keys()):
        what = "pods that name a PriorityClass which the cluster lacks are refused"
        yield error("priority-class-absent", what, [f"no PriorityClass {name}" for name in absent], _BOOTSTRAP)
    differing = [
        f"PriorityClass {name}: {field} is {has}, the catalog says {rendered[name][field]}"
        for name in rendered.keys() & there.keys()
        for field in ("value", "preemptionPolicy")
        if (has := there[name].get(field, "not set")) != rendered[name][field]
    ]
    if differing:
        # Value and policy of a class cannot be changed.
        names = " ".join(sorted({line.split()[1].rstrip(":") for line in differing}))
        what = (
            "PriorityClasses are not the catalog's tiers: Kubernetes and the platform's queue put jobs in other orders"
        )
        mend = f"kubectl delete priorityclass {names}, then {_BOOTSTRAP}"
        yield error("priority-class-differs", what, sorted(differing), mend)


def namespaces(cluster: Snapshot, wanted: Wanted) -> Iterator[Finding]:
    """See that the platform's and each team's namespace are there, and are not being deleted."""
    there = {one["metadata"]["name"]: one for one in cluster.all("Namespace")}
    for name in wanted.namespaces:
        whose = "the platform" if name == wanted.namespace else "a team of the catalog"
        if name not in there:
            what = f"{whose} has no namespace {name}: its pods and jobs are refused"
            yield error("namespace-absent", what, [f"no Namespace {name}"], APPLY)
        elif (there[name].get("status") or {}).get("phase") == "Terminating":
            what = f"the namespace {name} of {whose} is being deleted: nothing new is taken there"
            mend = f"kubectl get namespace {name} -o yaml tells what it waits for; when it is gone: {APPLY}"
            yield error("namespace-terminating", what, [f"Namespace {name}: Terminating"], mend)


def quota_lines(cluster: Snapshot, wanted: Wanted) -> Iterator[Finding]:
    """See that each line of a quota is one that Kubernetes enforces.

    Of extended resources those with `requests.` alone are; `limits.nvidia.com/gpu` is accepted and ignored
    (`kubernetes/kubernetes:pkg/quota/v1/evaluator/core/pods.go`, isExtendedResourceNameForQuota).
    """
    for namespace in wanted.namespaces:
        for quota in cluster.all("ResourceQuota", namespace):
            for line, most in (quota["spec"].get("hard") or {}).items():
                if "/" in line and not line.startswith(_EVALUATED) and ".storageclass.storage.k8s.io/" not in line:
                    right = f"requests.{line.removeprefix('limits.')}"
                    what = f"the quota {name_of(quota)} does not limit {line.removeprefix('limits.')}"
                    yield error(
                        "quota-does-nothing",
                        what,
                        [f"{line}: {most} is accepted and never enforced"],
                        f"write {right} in its place: kubectl -n {namespace} edit resourcequota "
                        f"{quota['metadata']['name']}",
                    )


def quota_defaults(cluster: Snapshot, wanted: Wanted) -> Iterator[Finding]:
    """See that a namespace with a quota of CPUs or memory has defaults for containers.

    Under such a quota a container that does not say what it wants is refused, those that the operator adds included.
    """
    for namespace in wanted.namespaces:
        limited = {
            line: name_of(quota)
            for quota in cluster.all("ResourceQuota", namespace)
            if not quota["spec"].get("scopes") and not quota["spec"].get("scopeSelector")
            for line in quota["spec"].get("hard") or {}
        }
        given: set[str] = set()
        for limits in cluster.all("LimitRange", namespace):
            for one in limits["spec"].get("limits") or ():
                if one.get("type") == "Container":
                    given |= {f"limits.{name}" for name in one.get("default") or {}}
                    given |= {f"requests.{name}" for name in one.get("defaultRequest") or one.get("default") or {}}
        needed = {"requests.cpu", "requests.memory", "limits.cpu", "limits.memory"} & limited.keys()
        if missing := sorted(needed - given):
            what = f"in {namespace} a container that does not state its {', '.join(missing)} is refused"
            quotas = ", ".join(dict.fromkeys(limited[line] for line in missing))
            evidence = [f"ResourceQuota {quotas} counts them, and no LimitRange gives a default"]
            yield error(
                "quota-without-defaults", what, evidence, f"apply the LimitRange of the team's manifests: {APPLY}"
            )


def team_objects(cluster: Snapshot, wanted: Wanted) -> Iterator[Finding]:
    """See that a team's namespace has its quotas, as large as the catalog says, and lets the control plane in."""
    queued = _queue(cluster, wanted) is not None
    for namespace in namespaces_there(cluster, wanted):
        for rendered in wanted.teams.get(namespace, ()):
            kind, name = rendered["kind"], rendered["metadata"]["name"]
            if kind not in ("ResourceQuota", "RoleBinding"):
                continue
            there = cluster.find(kind, name, namespace)
            replaced = queued and "requests.cpu" in rendered.get("spec", {}).get("hard", {})
            if there is not None and replaced:
                what = f"Kueue lets jobs of {namespace} in that a quota then refuses: both count CPUs, memory and GPUs"
                mend = f"kubectl -n {namespace} delete resourcequota {name}   # Kueue's queues take its place"
                yield warning("quota-beside-queue", what, [f"ResourceQuota {namespace}/{name}"], mend)
            elif there is None and not replaced:
                what = f"{namespace} lacks what its team's manifests have"
                yield error("team-object-absent", what, [f"no {kind} {namespace}/{name}"], APPLY)
            elif there is not None and kind == "ResourceQuota":
                yield from _quota_differs(there, rendered)


def queues(cluster: Snapshot, wanted: Wanted) -> Iterator[Finding]:
    """See that each team has the Kueue queue that its jobs are sent to, where the platform is set to use one."""
    queue = _queue(cluster, wanted)
    if queue is None:
        return
    if not cluster.knows("LocalQueue"):
        what = "dedicated jobs go to Kueue's queues, and the cluster has no Kueue: they are never let in"
        mend = "install Kueue (first lines of k8s/components/kueue/kustomization.yaml)"
        yield error(
            "kueue-absent", what, [f"SLIPWAY_KUEUE_QUEUE is {queue}; kueue.x-k8s.io/v1beta2 is not served"], mend
        )
        return
    for namespace in wanted.teams:
        local = cluster.find("LocalQueue", queue, namespace)
        target = local["spec"].get("clusterQueue", "") if local else ""
        if local is None:
            evidence = [f"no LocalQueue {namespace}/{queue}"]
        elif (leads_to := cluster.find("ClusterQueue", target)) is None:
            evidence = [f"LocalQueue {namespace}/{queue} leads to the ClusterQueue {target}, which is not there"]
        elif (active := condition(leads_to, "Active")).get("status") == "False":
            evidence = [f"ClusterQueue {target} is not active: {active.get('reason')} {active.get('message')}"]
        else:
            continue
        what = f"jobs of {namespace} wait in a queue that lets nobody in"
        yield error("queue-absent", what, evidence, f"add ../../components/kueue to the overlay, then {APPLY}")


def _quota_differs(there: Object, rendered: Object) -> Iterator[Finding]:
    has, wants = there["spec"].get("hard") or {}, rendered["spec"]["hard"]
    differing = [
        f"{line}: {has.get(line, 'none')}, the catalog says {most}"
        for line, most in wants.items()
        if line not in has or amount(has[line]) != amount(most)
    ]
    # A line without effect is told of as such, with the one that should be in its place.
    differing = [line for line in differing if not _stands_in(line.partition(":")[0], has)]
    if differing:
        what = f"the quota {name_of(there)} is not the catalog's: the next apply changes it back"
        yield warning(
            "quota-differs", what, differing, f"change the team in the catalog, `make manifests`, then {APPLY}"
        )


def _stands_in(line: str, has: Object) -> bool:
    resource = line.removeprefix("requests.")
    return line not in has and "/" in resource and (f"limits.{resource}" in has or resource in has)


def _queue(cluster: Snapshot, wanted: Wanted) -> str | None:
    for about, template in templates(ray_cluster(cluster, wanted)):
        for container in template.get("spec", {}).get("containers", ())[:1] if about == "the head" else ():
            return variables(container, cluster, wanted.namespace).get("SLIPWAY_KUEUE_QUEUE")
    return None
