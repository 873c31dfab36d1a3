"""Objects that the tests of the stand-in apply: small, and right for its default nodes."""

from typing import Any

Object = dict[str, Any]

CPU_AND_MEMORY = {"cpu": "1", "memory": "1Gi"}

TOLERATIONS = [{"key": "nvidia.com/gpu", "operator": "Exists"}, {"key": "spot", "operator": "Exists"}]


def namespace(name: str) -> Object:
    """Make a namespace."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def worker_group(name: str, limits: Object, *, idle_seconds: int = 60, most: int = 2, **fields: Any) -> Object:
    """Make a worker group that starts at zero."""
    return {
        "groupName": name,
        "replicas": 0,
        "minReplicas": 0,
        "maxReplicas": most,
        "idleTimeoutSeconds": idle_seconds,
        "rayStartParams": {},
        "template": _template("ray-worker", limits, tolerations=TOLERATIONS),
        **fields,
    }


def cluster_spec(*groups: Object) -> Object:
    """Make a RayCluster's spec, with autoscaler v2 and token authentication."""
    return {
        "rayVersion": "2.60.0",
        "enableInTreeAutoscaling": True,
        "autoscalerOptions": {"version": "v2", "idleTimeoutSeconds": 5},
        "authOptions": {"mode": "token"},
        "headGroupSpec": {
            "rayStartParams": {"num-cpus": "0"},
            "template": _template("ray-head", {"cpu": "1", "memory": "2Gi"}),
        },
        "workerGroupSpecs": list(groups),
    }


def ray_cluster(name: str, *groups: Object, where: str = "team-a") -> Object:
    """Make a RayCluster."""
    metadata = {"name": name, "namespace": where}
    return {"apiVersion": "ray.io/v1", "kind": "RayCluster", "metadata": metadata, "spec": cluster_spec(*groups)}


def ray_job(name: str, entrypoint: str, *groups: Object, where: str = "team-a", **fields: Any) -> Object:
    """Make a RayJob with a cluster of its own."""
    spec = {"entrypoint": entrypoint, "submissionMode": "HTTPMode", "rayClusterSpec": cluster_spec(*groups), **fields}
    return {"apiVersion": "ray.io/v1", "kind": "RayJob", "metadata": {"name": name, "namespace": where}, "spec": spec}


def pod(name: str, requests: Object | None = None, where: str = "team-a", **fields: Any) -> Object:
    """Make a pod with one container."""
    container = {"name": "main", "image": "app:1", "resources": {"requests": requests or {}}}
    metadata = {"name": name, "namespace": where}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container], **fields}}


def quota(hard: Object, name: str = "team", where: str = "team-a", **fields: Any) -> Object:
    """Make a ResourceQuota."""
    metadata = {"name": name, "namespace": where}
    return {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": metadata, "spec": {"hard": hard, **fields}}


def _template(container: str, limits: Object, **fields: Any) -> Object:
    resources = {"limits": limits, "requests": limits}
    ray = {"name": container, "image": "rayproject/ray:2.60.0", "resources": resources}
    return {"spec": {"containers": [ray], **fields}}
