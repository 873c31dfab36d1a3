"""Whether what is installed works: the RayService, the platform's other services, and the secrets that they name.

Workers are not looked at. Under a RayService they are `0/1` ready all their lives, since proxies are on the head alone.
"""

from collections.abc import Iterator
from typing import Any

from platform_app.domain.doctor.finding import APPLY, Finding, error
from platform_app.domain.doctor.snapshot import Object, Snapshot, Wanted, condition, name_of, ray_service

_MOST_EVENTS = 3
_LONGEST_MESSAGE = 300


def installed(cluster: Snapshot, wanted: Wanted) -> Iterator[Finding]:
    """See that the platform is there at all."""
    if ray_service(cluster, wanted) is None:
        what = "the platform is not installed here"
        evidence = [f"no RayService in namespace {wanted.namespace}"]
        yield error("ray-service-absent", what, evidence, f"name its namespace with --namespace, or {APPLY}")


def secrets(cluster: Snapshot, wanted: Wanted) -> Iterator[Finding]:
    """See that each Secret and ConfigMap that a pod needs is there, with the keys that it names."""
    service = ray_service(cluster, wanted)
    users = (*([service] if service else []), *_workloads(cluster, wanted))
    needed = sorted({(kind, name, key) for user in users for kind, name, key in _references(user["spec"])})
    absent: dict[tuple[str, str], list[str]] = {}
    for kind, name, key in needed:
        there = cluster.find(kind, name, wanted.namespace)
        if there is None or (key and key not in (there.get("data") or {})):
            absent.setdefault((kind, name), []).append(key)
    for (kind, name), keys in absent.items():
        named = [key for key in keys if key]
        what = f"pods of the platform do not start without the {kind} {name}"
        missing = f", key {', '.join(named)}" if named else ""
        literals = " ".join(f"--from-literal={key}=VALUE" for key in named)
        create = f"kubectl -n {wanted.namespace} create secret generic {name} {literals}   # k8s/README.md, 3"
        evidence = [f"no {kind} {wanted.namespace}/{name}{missing}"]
        yield error(f"{kind.lower()}-absent", what, evidence, create if kind == "Secret" else APPLY)


def serving(cluster: Snapshot, wanted: Wanted) -> Iterator[Finding]:
    """See that the RayService is ready and its Serve application runs; if not, with what the operator says of it."""
    service = ray_service(cluster, wanted)
    if service is None:
        return
    status = service.get("status") or {}
    name, look = name_of(service), f"kubectl -n {wanted.namespace} describe rayservice {service['metadata']['name']}"
    active = status.get("activeServiceStatus") or {}
    ailing = [
        f"application {app}: {one.get('status')}: {one.get('message', '')[:_LONGEST_MESSAGE]}".rstrip(": ")
        for app, one in (active.get("applicationStatuses") or {}).items()
        if one.get("status") != "RUNNING"
    ]
    ready = condition(service, "Ready")
    if ailing:
        what = f"the Serve application of {name} does not run"
        head = f"ray.io/cluster={active.get('rayClusterName', '…')},ray.io/node-type=head"
        mend = f"kubectl -n {wanted.namespace} logs -l {head} --tail 100; {look}"
        yield error("serve-app-unhealthy", what, [*ailing, *_warnings(cluster, wanted)], mend)
    elif ready.get("status") != "True":
        told = (
            f"Ready is {ready.get('status', 'not set')}: {ready.get('reason', '')} {ready.get('message', '')}".rstrip(
                ": "
            )
        )
        what = f"the RayService {name} is not ready: nothing answers at the API"
        yield error("ray-service-not-ready", what, [told, *_warnings(cluster, wanted)], look)


def services(cluster: Snapshot, wanted: Wanted) -> Iterator[Finding]:
    """See that MLflow and the databases run."""
    for one in _workloads(cluster, wanted):
        wanted_replicas, ready = one["spec"].get("replicas", 1), (one.get("status") or {}).get("readyReplicas", 0)
        if ready < wanted_replicas:
            name = one["metadata"]["name"]
            what = f"{name} of the platform does not run"
            selector = ",".join(f"{k}={v}" for k, v in one["spec"]["selector"].get("matchLabels", {}).items())
            mend = f"kubectl -n {wanted.namespace} describe pods -l {selector}"
            yield error("service-not-ready", what, [f"{name_of(one)}: {ready} of {wanted_replicas} ready"], mend)


def _workloads(cluster: Snapshot, wanted: Wanted) -> tuple[Object, ...]:
    where = wanted.namespace
    operators = ("kuberay-operator",)  # where someone has installed it beside the platform
    found = (*cluster.all("Deployment", where), *cluster.all("StatefulSet", where))
    return tuple(one for one in found if one["metadata"]["name"] not in operators)


def _warnings(cluster: Snapshot, wanted: Wanted) -> list[str]:
    """Give the newest warnings about the platform's Ray objects."""
    about = ("RayService", "RayCluster")
    found = [
        one
        for one in cluster.all("Event", wanted.namespace)
        if one.get("type") == "Warning" and (one.get("involvedObject") or {}).get("kind") in about
    ]
    found.sort(key=lambda one: str(one.get("lastTimestamp") or one.get("eventTime") or ""))
    return [f"event {one.get('reason')}: {one.get('message', '')[:_LONGEST_MESSAGE]}" for one in found[-_MOST_EVENTS:]]


def _references(part: Any) -> Iterator[tuple[str, str, str]]:
    """Find what a spec names: kind, name and key of each, the key empty where the whole is meant."""
    if isinstance(part, list | tuple):
        for one in part:
            yield from _references(one)
    if not isinstance(part, dict) or part.get("optional"):
        return
    for field, value in part.items():
        if not isinstance(value, dict | list):
            continue
        match field, value:
            case (("secretKeyRef" | "configMapKeyRef"), {"name": name, "key": key, **rest}) if not rest.get("optional"):
                yield ("Secret" if field == "secretKeyRef" else "ConfigMap"), name, key
            case (("secretRef" | "configMapRef" | "configMap"), {"name": name, **rest}) if not rest.get("optional"):
                yield ("Secret" if field == "secretRef" else "ConfigMap"), name, ""
            case "secret", {"secretName": name, **rest} if not rest.get("optional"):
                yield "Secret", name, ""
            case "authOptions", {"mode": "token", "secretName": name}:
                # The key that the operator reads.
                yield "Secret", name, "auth_token"
            case _:
                yield from _references(value)
