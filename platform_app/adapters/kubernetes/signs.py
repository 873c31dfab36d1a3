"""The port `WaitingSigns` over Kubernetes: RayJobs, pods, events, quotas and Kueue's workloads, read as signs."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from platform_app.adapters.kubernetes.api import (
    EVENTS,
    PODS,
    QUOTAS,
    RAY_JOBS,
    WORKLOADS,
    KubernetesApi,
    Object,
    Resource,
)
from platform_app.adapters.kubernetes.rayjobs import OURS
from platform_app.dedicated import GROUP_LABEL, INSTANCE_LABEL
from platform_app.domain.explain import Sign, Source
from platform_app.errors import TemporaryError
from platform_app.ports import Clock

_STALE = timedelta(minutes=15)
"""Age at which an event about a cluster as a whole explains nothing any more; the operator repeats those that do."""


class KubernetesSigns:
    """What Kubernetes knows of attempts whose clusters are not whole."""

    def __init__(self, api: KubernetesApi, clock: Clock, kueue: bool) -> None:
        """Put it together.

        Args:
            api: the cluster's API server.
            clock: tells which events are old.
            kueue: whether jobs go through Kueue's queues.
        """
        self._api = api
        self._clock = clock
        self._kueue = kueue

    def of(self, submission_ids: Collection[str]) -> Mapping[str, tuple[Sign, ...]]:
        """Gather what is known: one read of RayJobs, then some of each namespace that has one of these.

        Raises:
            TemporaryError: the RayJobs cannot be read. What else cannot be read becomes a sign of its own.
        """
        jobs = [
            job
            for job in self._api.list(RAY_JOBS, labelSelector=OURS, resourceVersion="0")
            if job["metadata"]["name"] in submission_ids
        ]
        found: dict[str, tuple[Sign, ...]] = {}
        for namespace in dict.fromkeys(job["metadata"]["namespace"] for job in jobs):
            view = _Namespace(self._api, namespace, self._kueue)
            oldest = self._clock.now() - _STALE
            for job in (job for job in jobs if job["metadata"]["namespace"] == namespace):
                found[job["metadata"]["name"]] = tuple(view.signs(job, oldest))
        return found


class _Namespace:
    """A namespace's objects, each kind read once."""

    def __init__(self, api: KubernetesApi, namespace: str, kueue: bool) -> None:
        self._api = api
        self._namespace = namespace
        self._refusals: list[Sign] = []
        self._pods = self._read(PODS, labelSelector=OURS)
        self._events = self._read(EVENTS)
        self._quotas = self._read(QUOTAS)
        self._workloads = self._read(WORKLOADS) if kueue else []

    def signs(self, job: Object, oldest: datetime) -> Iterator[Sign]:
        """Give what is known of one job whose cluster is not whole; nothing of one that has all it wants."""
        name = job["metadata"]["name"]
        pods = [pod for pod in self._pods if pod["metadata"].get("labels", {}).get(INSTANCE_LABEL) == name]
        unready = [pod for pod in pods if _is_unready(pod)]
        status = job.get("status") or {}
        started = status.get("jobDeploymentStatus") == "Running"
        yield from self._refusals
        if not started:
            reason = status.get("jobDeploymentStatus") or ""
            yield Sign(Source.RAY_JOB, reason, status.get("message") or "", "its RayJob")
            yield from _queue_signs(one for one in self._workloads if _owned_by(one, name))
        for pod in unready:
            yield from _pod_signs(pod)
        waiting = {pod["metadata"]["name"]: about(pod) for pod in unready}
        owners: tuple[str, ...] = (name, status.get("rayClusterName") or name)
        if not started or _lacks_workers(status, pods):
            # What was refused before the newest pod came was refused no longer when it did.
            oldest = max(oldest, *(_moment(pod["metadata"].get("creationTimestamp")) for pod in pods), oldest)
        else:
            owners = ()
        yield from _event_signs(self._events, waiting, owners, oldest)
        # Only where pods are missing that no event speaks of: a quota may be full and in nobody's way.
        if not started and not unready:
            yield from _quota_signs(self._quotas)

    def _read(self, resource: Resource, **query: str) -> list[Object]:
        try:
            return self._api.list(resource, self._namespace, **query)
        except TemporaryError as error:
            reason = f"{resource.plural} of {self._namespace} cannot be read"
            self._refusals.append(Sign(Source.API, "Unreadable", f"{reason}: {error}"))
            return []


def about(pod: Object) -> str:
    """Name a pod for a person."""
    labels = pod["metadata"].get("labels", {})
    match labels.get("app.kubernetes.io/component"):
        case "head":
            return "the head"
        case "submitter":
            return "the submitter"
    return f"a worker of {labels.get(GROUP_LABEL, 'its cluster')}"


def _is_unready(pod: Object) -> bool:
    status = pod.get("status") or {}
    if status.get("phase") in ("Succeeded",):
        return False
    states = status.get("containerStatuses") or []
    return status.get("phase") != "Running" or not all("running" in (one.get("state") or {}) for one in states)


def _lacks_workers(status: Mapping[str, Any], pods: Collection[Object]) -> bool:
    wanted = status.get("rayClusterStatus", {}).get("desiredWorkerReplicas") or 0
    return wanted > sum(about(pod).startswith("a worker") for pod in pods)


def _pod_signs(pod: Object) -> Iterator[Sign]:
    status = pod.get("status") or {}
    if pod["metadata"].get("deletionTimestamp"):
        yield Sign(Source.POD, "Terminating", "", about(pod))
        return
    for condition in status.get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            yield Sign(Source.POD, condition.get("reason") or "", condition.get("message") or "", about(pod))
    for container in (*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])):
        state = container.get("state") or {}
        waiting, ended = state.get("waiting"), state.get("terminated")
        if ended and ended.get("exitCode"):
            yield Sign(Source.CONTAINER, ended.get("reason") or "Error", _last_words(ended), about(pod))
        elif waiting:
            last = (container.get("lastState") or {}).get("terminated")
            reason = last["reason"] if last and last.get("reason") == "OOMKilled" else waiting.get("reason") or ""
            message = _last_words(last) if last else waiting.get("message") or ""
            yield Sign(Source.CONTAINER, reason, message, about(pod))


def _last_words(ended: Mapping[str, Any]) -> str:
    return ended.get("message") or f"exit code {ended.get('exitCode')}"


def _event_signs(
    events: Iterable[Object], waiting: Mapping[str, str], owners: Collection[str], oldest: datetime
) -> Iterator[Sign]:
    """Read the events about pods that wait, however old, and recent ones about the job, its cluster and submitter."""
    for event in events:
        subject = event.get("involvedObject") or {}
        name, at = subject.get("name", ""), happened_at(event)
        if subject.get("kind") == "Pod":
            who = waiting.get(name)
        else:
            who = "its cluster" if name in owners and at >= oldest else None
        if who:
            yield Sign(Source.EVENT, event.get("reason") or "", event.get("message") or "", who, at)


def happened_at(event: Object) -> datetime:
    """Tell when an event was last seen: those of the newer API leave the older fields empty."""
    series = event.get("series") or {}
    for text in (
        series.get("lastObservedTime"),
        event.get("eventTime"),
        event.get("lastTimestamp"),
        event["metadata"].get("creationTimestamp"),
    ):
        if text:
            return _moment(text)
    return _moment(None)


def _moment(text: str | None) -> datetime:
    # Go writes nanoseconds, which Python's datetime does not hold.
    return datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text)) if text else datetime.min.replace(tzinfo=UTC)


def _quota_signs(quotas: Iterable[Object]) -> Iterator[Sign]:
    for quota in quotas:
        status = quota.get("status") or {}
        hard, used = status.get("hard") or {}, status.get("used") or {}
        for resource in sorted(hard):
            # A quota of nothing forbids something; it is not used up.
            if hard[resource] != "0" and used.get(resource) == hard[resource]:
                told = f"{quota['metadata']['name']}: {used[resource]} of {hard[resource]} {resource}"
                yield Sign(Source.QUOTA, resource, told)


def _queue_signs(workloads: Iterable[Object]) -> Iterator[Sign]:
    """Read why a workload is not admitted; Kueue keeps the conditions of what has passed."""
    for workload in workloads:
        conditions = {one["type"]: one for one in (workload.get("status") or {}).get("conditions") or []}
        if conditions.get("Admitted", {}).get("status") == "True":
            continue
        for kind, wanted in (("QuotaReserved", "False"), ("Evicted", "True")):
            condition = conditions.get(kind, {})
            if condition.get("status") == wanted:
                yield Sign(Source.QUEUE, condition.get("reason") or "", condition.get("message") or "", "its queue")


def _owned_by(workload: Object, ray_job: str) -> bool:
    owners = workload["metadata"].get("ownerReferences") or []
    return any(owner.get("kind") == "RayJob" and owner.get("name") == ray_job for owner in owners)
