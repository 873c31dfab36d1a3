"""Worker groups of the catalog as worker groups of KubeRay, and the environment of all Ray containers."""

from typing import Any

from platform_app.launch import JOB_ENV, stock_out_env
from platform_app.manifests.names import (
    GPU_TAINT,
    GROUP,
    POOL_LABEL,
    SHARED_STORAGE,
    SPOT_LABELS,
    SPOT_TAINT,
    STORAGE_CLAIM,
    TRACKING_URI,
    USER,
    labels,
    memory,
    tier_of,
)
from platform_app.specs import Catalog, Market, WorkerGroup

IMAGE, CUDA_IMAGE = "slipway:0.1.0", "slipway-cuda:0.1.0"
"""Images of `k8s/image/Dockerfile`; an overlay's `images:` says where they are."""

_END_SECONDS = 15
"""Between the drain's end and SIGKILL: time to end the processes in order."""


def ray_environment(catalog: Catalog) -> dict[str, str]:
    """Give the variables of every Ray container: head, autoscaler and workers. Jobs inherit them."""
    times = catalog.kubernetes
    return {
        # Ray's commands differ in what they take an unset mode for (guide: InvalidAuthToken), so it is always said.
        "RAY_AUTH_MODE": "token",
        "RAY_USAGE_STATS_ENABLED": "0",
        # `ray start --block`, a pod's first process, answers SIGTERM by draining its node with reason PREEMPTION:
        # that is a job's notice (`ray/_private/node.py`, _drain_node_before_shutdown). By default it takes 30
        # seconds, which is also the default grace period, and the end would come by SIGKILL.
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": str(times.drain_seconds),
        "RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": "2",
        # By default a placement group is dropped after 60 seconds, which no GPU node takes to boot.
        "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "900",
        **stock_out_env(times.spot_wait_seconds, times.spot_retry_seconds),
        **JOB_ENV,
        "MLFLOW_TRACKING_URI": TRACKING_URI,
        "SLIPWAY_TRACKING_URI": TRACKING_URI,
        "SLIPWAY_STORAGE": SHARED_STORAGE,
    }


def worker_group(group: WorkerGroup, catalog: Catalog, environment: str) -> dict[str, Any]:
    """Render one group of `workerGroupSpecs`.

    Args:
        group: a group of the catalog.
        catalog: the whole, for tiers and times.
        environment: name of the ConfigMap with `ray_environment`.
    """
    return {
        "groupName": group.name,
        # Only the autoscaler changes it; whoever applies a manifest again sets it back to this.
        "replicas": group.min_workers,
        "minReplicas": group.min_workers,
        "maxReplicas": group.max_workers,
        "priority": group.priority,
        "idleTimeoutSeconds": catalog.kubernetes.idle_timeout_seconds,
        "labels": group.ray_labels,
        # Said in Ray's words too: the autoscaler knows a resource as a GPU only when its name ends in `gpu`, so
        # groups of shared GPUs and of MIG slices would stay at zero (`ray/autoscaler/_private/kuberay`).
        "resources": _ray_resources(group),
        "rayStartParams": {},
        "template": {
            "metadata": {"labels": labels("slipway-worker", group.name), "annotations": _annotations(group)},
            "spec": _pod(group, catalog, environment),
        },
    }


def _ray_resources(group: WorkerGroup) -> dict[str, str]:
    gpus = {"GPU": str(group.gpus)} if group.gpus else {}
    return {"CPU": str(group.cpus), **gpus, "memory": str(int(group.memory_gib * 1024) * 2**20)}


def _annotations(group: WorkerGroup) -> dict[str, str]:
    # Cluster Autoscaler counts a pod's requests, not its work, and would move what runs on a node used by half.
    keep = {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"}
    if group.market is Market.SPOT:
        # Karpenter leaves a pod that is not to be disrupted alone also when the cloud takes the node back, and it
        # would die without notice (`kubernetes-sigs/karpenter:pkg/utils/pod/scheduling.go`, IsEvictable). The
        # NodePools keep running workers: they are disrupted when empty only.
        return keep
    return keep | {"karpenter.sh/do-not-disrupt": "true"}


def _pod(group: WorkerGroup, catalog: Catalog, environment: str) -> dict[str, Any]:
    pod: dict[str, Any] = {
        "priorityClassName": tier_of(group, catalog),
        # The only policy that the operator takes with autoscaler v2.
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": catalog.kubernetes.drain_seconds + _END_SECONDS,
        # The user's code runs here, and needs nothing of Kubernetes.
        "automountServiceAccountToken": False,
        "nodeSelector": {POOL_LABEL: group.name},
        "securityContext": pod_security(),
        "containers": [_container(group, environment)],
        "volumes": [storage_volume()],
    }
    if keys := _tolerated(group):
        pod["tolerations"] = [{"key": key, "operator": "Exists"} for key in keys]
    return pod


def _tolerated(group: WorkerGroup) -> tuple[str, ...]:
    gpu = (GPU_TAINT,) if group.gpus else ()
    return gpu + ((SPOT_TAINT, *SPOT_LABELS) if group.market is Market.SPOT else ())


def _container(group: WorkerGroup, environment: str) -> dict[str, Any]:
    amounts = {"cpu": str(group.cpus), "memory": memory(group.memory_gib)}
    if group.gpus:
        amounts[group.gpu_resource] = str(group.gpus)
    container: dict[str, Any] = {
        "name": "ray-worker",
        "image": CUDA_IMAGE if group.gpus else IMAGE,
        "envFrom": [{"configMapRef": {"name": environment}}],
        # Ray reads its size from the limits: what is not also requested would be promised twice.
        "resources": {"requests": amounts, "limits": dict(amounts)},
        "securityContext": container_security(),
        # /dev/shm is the operator's: in memory, as large as the container's limit.
        "volumeMounts": [storage_mount()],
    }
    if not group.gpus:
        container["env"] = [{"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"}]
    return container


def pod_security() -> dict[str, Any]:
    """Give the pod-level part of running as Ray's user; files of a volume are taken over only when they are not."""
    return {
        "runAsNonRoot": True,
        "runAsUser": USER,
        "runAsGroup": GROUP,
        "fsGroup": GROUP,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container_security() -> dict[str, Any]:
    """Give the container-level part: no way up."""
    return {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def storage_volume() -> dict[str, Any]:
    """Give the shared filesystem as a pod's volume."""
    return {"name": "storage", "persistentVolumeClaim": {"claimName": STORAGE_CLAIM}}


def storage_mount() -> dict[str, Any]:
    """Give the shared filesystem as a container's mount."""
    return {"name": "storage", "mountPath": SHARED_STORAGE}
