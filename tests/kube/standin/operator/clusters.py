"""RayClusters become pods, with the few objects that these need."""

import json
import secrets
import time
from typing import Any

from tests.kube.standin.api.errors import ApiError
from tests.kube.standin.api.objects import Api
from tests.kube.standin.events import Recorder
from tests.kube.standin.operator import pods as build
from tests.kube.standin.operator.conditions import set_condition
from tests.kube.standin.operator.validation import cluster_problem, name_problem, token_auth

LONGEST_NAME = 53

Object = dict[str, Any]


class Clusters:
    """Reconciles RayClusters."""

    def __init__(self, api: Api, recorder: Recorder) -> None:
        self._api = api
        self._recorder = recorder
        self._retry: dict[str, tuple[float, float]] = {}

    def step(self) -> None:
        """Bring every RayCluster one step nearer to what it should be."""
        for cluster in self._api.list(self._kind("rayclusters.ray.io"), None):
            if not cluster["metadata"].get("deletionTimestamp") and self._due(cluster):
                self._reconcile(cluster)

    def _reconcile(self, cluster: Object) -> None:
        metadata = cluster["metadata"]
        where = f"{metadata['namespace']}/{metadata['name']}"
        if problem := name_problem("RayCluster", metadata["name"], LONGEST_NAME):
            message = f"The RayCluster metadata is invalid {where}: {problem}"
            self._recorder.warning(cluster, "InvalidRayClusterMetadata", message, "Validate")
            return self._wait(cluster)
        if problem := cluster_problem(cluster["spec"]):
            message = f"The RayCluster spec is invalid {where}: {problem}"
            self._recorder.warning(cluster, "InvalidRayClusterSpec", message, "Validate")
            return self._wait(cluster)
        failure: tuple[str, ApiError] | None = None
        try:
            self._accompany(cluster)
            if cluster["spec"].get("suspend"):
                self._delete_all(cluster)
            else:
                failure = self._reconcile_pods(cluster)
        except ApiError as error:
            failure = "", error
        self._tell(cluster, failure)
        return self._wait(cluster) if failure else self._go_on(cluster)

    def _reconcile_pods(self, cluster: Object) -> tuple[str, ApiError] | None:
        pods = self.pods(cluster)
        heads = [pod for pod in pods if _is(pod, "node-type", "head")]
        for head in heads:
            if _finished(head):
                self._delete(cluster, head, "DeletedHeadPod", _post_mortem("head Pod", head))
                return None
        where = f"{cluster['metadata']['namespace']}"
        if not heads:
            try:
                created = self._create(build.head_pod(cluster), where)
            except ApiError as error:
                name = build.head_pod(cluster)["metadata"]["name"]
                message = f"Failed to create head Pod {where}/{name}, {error}"
                self._recorder.warning(cluster, "FailedToCreateHeadPod", message, "Create")
                return "FailedCreateHeadPod", error
            self._recorder.normal(cluster, "CreatedHeadPod", f"Created head Pod {where}/{created}", "Create")
        for group in cluster["spec"].get("workerGroupSpecs") or ():
            workers = [pod for pod in pods if _is(pod, "node-type", "worker") and _is(pod, "group", group["groupName"])]
            if failure := self._reconcile_group(cluster, group, workers):
                return failure
        return None

    def _reconcile_group(self, cluster: Object, group: Object, workers: list[Object]) -> tuple[str, ApiError] | None:
        where = cluster["metadata"]["namespace"]
        for pod in [pod for pod in workers if _finished(pod)]:
            self._delete(cluster, pod, "DeletedWorkerPod", _post_mortem("worker Pod", pod))
            workers.remove(pod)
        named = (group.get("scaleStrategy") or {}).get("workersToDelete") or []
        for pod in [pod for pod in workers if pod["metadata"]["name"] in named]:
            self._delete(cluster, pod, "DeletedWorkerPod", f"Deleted pod {where}/{pod['metadata']['name']}")
            workers.remove(pod)
        lacking = desired(group) - len(workers)
        for _ in range(lacking):
            try:
                created = self._create(build.worker_pod(cluster, group), where)
            except ApiError as error:
                about = f"{where}/{cluster['metadata']['name']}"
                message = f"Failed to create worker Pod for the cluster {about}, {error}"
                self._recorder.warning(cluster, "FailedToCreateWorkerPod", message, "Create")
                return "FailedCreateWorkerPod", error
            self._recorder.normal(cluster, "CreatedWorkerPod", f"Created worker Pod {where}/{created}", "Create")
        if lacking < 0 and not cluster["spec"].get("enableInTreeAutoscaling"):
            for pod in workers[:-lacking]:
                self._delete(cluster, pod, "DeletedWorkerPod", f"Deleted Pod {where}/{pod['metadata']['name']}")
        return None

    def pods(self, cluster: Object) -> list[Object]:
        """Give the pods of a cluster, those that are ending with them."""
        metadata = cluster["metadata"]
        return self._api.list(self._kind("pods"), metadata["namespace"], f"ray.io/cluster={metadata['name']}")

    def _accompany(self, cluster: Object) -> None:
        metadata, spec = cluster["metadata"], cluster["spec"]
        name, options = metadata["name"], spec.get("authOptions") or {}
        if token_auth(spec) and not options.get("secretName"):
            self._ensure("secrets", cluster, name, {"stringData": {"auth_token": secrets.token_hex(16)}})
        ports = {"gcs-server": 6379, "dashboard": 8265, "client": 10001, "metrics": 8080, "serve": 8000}
        selector = {"ray.io/cluster": name, "ray.io/node-type": "head"}
        service = {"selector": selector, "clusterIP": "None"}
        service["ports"] = [{"name": label, "port": port} for label, port in ports.items()]
        self._ensure("services", cluster, f"{name}-head-svc", {"spec": service})
        if not spec.get("enableInTreeAutoscaling"):
            return
        account = build.autoscaler_account(cluster)
        if account == name:
            self._ensure("serviceaccounts", cluster, name, {})
        rules = [
            {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch", "patch"]},
            {"apiGroups": [""], "resources": ["pods/resize"], "verbs": ["patch"]},
            {"apiGroups": ["ray.io"], "resources": ["rayclusters"], "verbs": ["get", "patch"]},
        ]
        self._ensure("roles", cluster, name, {"rules": rules})
        subject = {"kind": "ServiceAccount", "name": account, "namespace": metadata["namespace"]}
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}
        self._ensure("rolebindings", cluster, name, {"subjects": [subject], "roleRef": role})

    def _ensure(self, resource: str, cluster: Object, name: str, body: Object) -> None:
        namespace = cluster["metadata"]["namespace"]
        if self._api.find(resource, namespace, name) is None:
            metadata = {"name": name, "ownerReferences": [build.owner(cluster)]}
            self._api.create(self._kind(resource), namespace, {**body, "metadata": metadata})

    def _create(self, pod: Object, namespace: str) -> str:
        return self._api.create(self._kind("pods"), namespace, pod)["metadata"]["name"]

    def _delete(self, cluster: Object, pod: Object, reason: str, message: str) -> None:
        metadata = pod["metadata"]
        if not metadata.get("deletionTimestamp"):
            self._api.delete(self._kind("pods"), metadata["namespace"], metadata["name"])
            self._recorder.normal(cluster, reason, message, "Delete")

    def _delete_all(self, cluster: Object) -> None:
        for pod in self.pods(cluster):
            metadata = pod["metadata"]
            message = f"Deleted Pod {metadata['namespace']}/{metadata['name']} due to RayCluster suspension"
            self._delete(cluster, pod, "DeletedPod", message)

    def _tell(self, cluster: Object, failure: tuple[str, ApiError] | None) -> None:
        known = self._api.find("rayclusters.ray.io", cluster["metadata"]["namespace"], cluster["metadata"]["name"])
        if known is not None:
            status = status_of(known, self.pods(cluster), failure)
            if status != (known.get("status") or {}):
                self._api.set_status(self._kind("rayclusters.ray.io"), known, status)

    def _due(self, cluster: Object) -> bool:
        """Say whether it is time to look again: failures are tried again ever later, or at once after a change."""
        key = _fingerprint(cluster)
        at, _ = self._retry.get(key, (0.0, 0.0))
        return time.monotonic() >= at

    def _wait(self, cluster: Object) -> None:
        key = _fingerprint(cluster)
        _, before = self._retry.get(key, (0.0, 0.25))
        pause = min(before * 2, 8.0)
        self._retry[key] = time.monotonic() + pause, pause

    def _go_on(self, cluster: Object) -> None:
        self._retry.pop(_fingerprint(cluster), None)

    def _kind(self, resource: str) -> Any:
        return self._api.kinds.named(resource)


def desired(group: Object) -> int:
    """Say how many workers a group should have, within its bounds."""
    if group.get("suspend"):
        return 0
    least, most = group.get("minReplicas") or 0, group.get("maxReplicas", 2147483647)
    return max(least, min(group.get("replicas") or 0, most))


def status_of(cluster: Object, pods: list[Object], failure: tuple[str, ApiError] | None) -> Object:
    """Sum a cluster's state up from its pods."""
    status = dict(cluster.get("status") or {})
    groups = cluster["spec"].get("workerGroupSpecs") or ()
    workers = [pod for pod in pods if _is(pod, "node-type", "worker")]
    head = next((pod for pod in pods if _is(pod, "node-type", "head")), None)
    wanted = sum(desired(group) for group in groups)
    status |= {
        "observedGeneration": cluster["metadata"].get("generation", 1),
        "desiredWorkerReplicas": wanted,
        "readyWorkerReplicas": sum(ready(pod) for pod in workers),
        "availableWorkerReplicas": sum(pod["status"].get("phase") == "Running" for pod in workers),
        "minWorkerReplicas": sum(group.get("minReplicas") or 0 for group in groups),
        "maxWorkerReplicas": min(sum(group.get("maxReplicas") or 0 for group in groups), 2147483647),
    }
    conditions = [dict(one) for one in status.get("conditions") or ()]
    if failure and failure[0]:
        set_condition(conditions, "ReplicaFailure", True, failure[0], str(failure[1]))
    elif not failure:
        conditions = [one for one in conditions if one["type"] != "ReplicaFailure"]
    _tell_head(conditions, status, head, cluster)
    suspend = bool(cluster["spec"].get("suspend"))
    set_condition(conditions, "RayClusterSuspending", suspend and bool(pods), "RayClusterSuspending")
    set_condition(conditions, "RayClusterSuspended", suspend and not pods, "RayClusterSuspended")
    if suspend and not pods:
        status["state"] = "suspended"
    elif not failure and len(pods) == wanted + 1 and all(ready(pod) for pod in pods):
        status["state"] = "ready"
        set_condition(
            conditions,
            "RayClusterProvisioned",
            True,
            "AllPodRunningAndReadyFirstTime",
            "All Ray Pods are ready for the first time",
        )
    status["conditions"] = conditions
    return status


def _tell_head(conditions: list[Object], status: Object, head: Object | None, cluster: Object) -> None:
    if head is None:
        set_condition(conditions, "HeadPodReady", False, "HeadPodNotFound", "Head Pod not found")
    else:
        up = ready(head)
        set_condition(conditions, "HeadPodReady", up, "HeadPodRunningAndReady" if up else "ContainersNotReady")
        name, address = head["metadata"]["name"], head["status"].get("podIP", "")
        status["head"] = {"podName": name, "podIP": address, "serviceName": f"{cluster['metadata']['name']}-head-svc"}
    if not any(one["type"] == "RayClusterProvisioned" for one in conditions):
        message = "RayCluster Pods are being provisioned for first time"
        set_condition(conditions, "RayClusterProvisioned", False, "RayClusterPodsProvisioning", message)


def ready(pod: Object) -> bool:
    """Say whether a pod's readiness probe is content."""
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def _is(pod: Object, label: str, value: str) -> bool:
    return pod["metadata"]["labels"].get(f"ray.io/{label}") == value


def _finished(pod: Object) -> bool:
    """Say whether the operator gives a pod up: it has ended, or its Ray container has and will not come again."""
    status = pod.get("status") or {}
    if status.get("phase") in ("Succeeded", "Failed"):
        return True
    ray = next(iter(status.get("containerStatuses") or ()), None)
    return bool(ray and "terminated" in ray["state"] and pod["spec"].get("restartPolicy") == "Never")


def _post_mortem(what: str, pod: Object) -> str:
    status = pod["status"]
    ended = next((one["state"].get("terminated") for one in status.get("containerStatuses") or ()), None)
    return (
        f"Deleted {what} {pod['metadata']['namespace']}/{pod['metadata']['name']}; Pod status: {status.get('phase')};"
        f" Pod restart policy: {pod['spec'].get('restartPolicy')}; Ray container terminated status: {json.dumps(ended)}"
    )


def _fingerprint(cluster: Object) -> str:
    return f"{cluster['metadata']['uid']}/{cluster['metadata'].get('generation', 1)}"
