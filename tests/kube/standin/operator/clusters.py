"""RayClusters become pods, with the few objects that these need."""

import json
import secrets
import time
from typing import Any

from tests.kube.standin.api.errors import ApiError
from tests.kube.standin.api.objects import Api
from tests.kube.standin.events import Recorder
from tests.kube.standin.operator import pods as build
from tests.kube.standin.operator.cluster_status import desired, is_labelled, status_of
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
        heads = [pod for pod in pods if is_labelled(pod, "node-type", "head")]
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
            workers = [
                pod
                for pod in pods
                if is_labelled(pod, "node-type", "worker") and is_labelled(pod, "group", group["groupName"])
            ]
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
