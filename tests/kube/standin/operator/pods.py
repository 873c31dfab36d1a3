"""The pods of a RayCluster, as KubeRay builds them from its groups' templates."""

import copy
from typing import Any

from tests.kube.standin.operator.start_command import CONTAINER_COMMAND, start_command
from tests.kube.standin.operator.validation import is_v2, token_auth

GCS_PORT = 6379
"""Where Ray's head listens inside its pod."""

_LONGEST_PREFIX = 50

Object = dict[str, Any]


def service_host(cluster: Object) -> str:
    """Give the name under which a cluster's head is found by its workers."""
    metadata = cluster["metadata"]
    return f"{metadata['name']}-head-svc.{metadata['namespace']}.svc.cluster.local"


def head_pod(cluster: Object) -> Object:
    """Build the head's pod, with the autoscaler beside Ray where the cluster has one."""
    spec, group = cluster["spec"], cluster["spec"]["headGroupSpec"]
    pod = _pod(cluster, group, "head", "headgroup")
    pod["metadata"]["name"] = f"{_prefix(cluster['metadata']['name'])}-head"
    if spec.get("enableInTreeAutoscaling"):
        pod["spec"]["serviceAccountName"] = autoscaler_account(cluster)
        pod["spec"]["containers"].append(_autoscaler(cluster))
        if is_v2(spec):
            pod["spec"]["restartPolicy"] = "Never"
            pod["spec"]["containers"][0].setdefault("env", []).append(
                {"name": "RAY_enable_autoscaler_v2", "value": "true"}
            )
    return pod


def worker_pod(cluster: Object, group: Object) -> Object:
    """Build one worker's pod; the API server completes its name."""
    pod = _pod(cluster, group, "worker", group["groupName"])
    pod["metadata"]["generateName"] = f"{_prefix(cluster['metadata']['name'] + '-' + group['groupName'])}-worker-"
    if is_v2(cluster["spec"]):
        pod["spec"]["restartPolicy"] = "Never"
    ray = pod["spec"]["containers"][0]
    waiting = {
        "name": "wait-gcs-ready",
        "image": ray.get("image", ""),
        "command": [*CONTAINER_COMMAND[:1], "-c"],
        "args": ["until ray health-check --address $FQ_RAY_IP:$RAY_PORT; do sleep 5; done"],
        "env": copy.deepcopy(ray["env"]),
        "resources": {
            "limits": {"cpu": "200m", "memory": "256Mi"},
            "requests": {"cpu": "200m", "memory": "256Mi"},
        },
    }
    pod["spec"].setdefault("initContainers", []).append(waiting)
    return pod


def autoscaler_account(cluster: Object) -> str:
    """Name the service account that the head, and with it the autoscaler, runs as."""
    template = cluster["spec"]["headGroupSpec"]["template"]["spec"]
    return template.get("serviceAccountName") or cluster["metadata"]["name"]


def _pod(cluster: Object, group: Object, kind: str, group_name: str) -> Object:
    template = copy.deepcopy(group["template"])
    metadata, name = template.get("metadata") or {}, cluster["metadata"]["name"]
    own = {
        "ray.io/is-ray-node": "yes",
        "ray.io/cluster": name,
        "ray.io/node-type": kind,
        "ray.io/group": group_name,
        "ray.io/identifier": f"{name}-{kind}",
        "app.kubernetes.io/name": "kuberay",
        "app.kubernetes.io/created-by": "kuberay-operator",
    }
    given = {**(metadata.get("labels") or {}), **(group.get("labels") or {})}
    fixed = {key: own[key] for key in ("ray.io/cluster", "ray.io/node-type", "ray.io/group")}
    spec = template["spec"]
    _shared_memory(spec)
    _complete_ray_container(cluster, group, spec["containers"][0], head=kind == "head", metadata=metadata)
    return {
        "metadata": {
            "namespace": cluster["metadata"]["namespace"],
            "labels": {**own, **given, **fixed},
            "annotations": metadata.get("annotations") or {},
            "ownerReferences": [owner(cluster)],
        },
        "spec": spec,
    }


def owner(obj: Object) -> Object:
    """Refer to an object as the owner of others, which go with it."""
    metadata = obj["metadata"]
    reference = {"apiVersion": obj["apiVersion"], "kind": obj["kind"], "name": metadata["name"], "uid": metadata["uid"]}
    return {**reference, "controller": True, "blockOwnerDeletion": True}


def _complete_ray_container(cluster: Object, group: Object, ray: Object, *, head: bool, metadata: Object) -> None:
    spec = cluster["spec"]
    address = f"{service_host(cluster)}:{GCS_PORT}"
    line = start_command(group, head=head, autoscaling=bool(spec.get("enableInTreeAutoscaling")), address=address)
    own_command = " ".join([*(ray.get("command") or ()), *(ray.get("args") or ())])
    overwritten = (metadata.get("annotations") or {}).get("ray.io/overwrite-container-cmd", "").lower() == "true"
    if not overwritten and "ray start" not in own_command:
        limited = f"ulimit -n ${{RAY_START_ULIMIT_OPEN_FILES:-65536}}; {line}"
        ray["command"] = list(CONTAINER_COMMAND)
        ray["args"] = [f"{own_command} && {limited}" if own_command else limited]
    env = ray.setdefault("env", [])
    host = "127.0.0.1" if head else service_host(cluster)
    if not head:
        env += [{"name": "FQ_RAY_IP", "value": host}, {"name": "RAY_IP", "value": host.partition(".")[0]}]
    env += [
        _field("RAY_CLUSTER_NAME", "metadata.labels['ray.io/cluster']"),
        _field("RAY_CLUSTER_NAMESPACE", "metadata.namespace"),
        _field("RAY_CLOUD_INSTANCE_ID", "metadata.name"),
        _field("RAY_NODE_TYPE_NAME", "metadata.labels['ray.io/group']"),
        {"name": "KUBERAY_GEN_RAY_START_CMD", "value": line},
    ]
    defaults = {"RAY_PORT": str(GCS_PORT), "RAY_ADDRESS": f"{host}:{GCS_PORT}", "RAY_USAGE_STATS_KUBERAY_IN_USE": "1"}
    given = {one["name"] for one in env}
    env += [{"name": name, "value": value} for name, value in defaults.items() if name not in given]
    if token_auth(spec):
        env += [one for one in _auth_env(cluster) if one["name"] not in given]
    ports = ray.setdefault("ports", [])
    if not any(port.get("name") == "metrics" for port in ports):
        ports.append({"name": "metrics", "containerPort": 8080})


def _autoscaler(cluster: Object) -> Object:
    options = cluster["spec"].get("autoscalerOptions") or {}
    line = "ray kuberay-autoscaler --cluster-name $(RAY_CLUSTER_NAME) --cluster-namespace $(RAY_CLUSTER_NAMESPACE)"
    amounts = {"cpu": "500m", "memory": "512Mi"}
    env = [
        _field("RAY_CLUSTER_NAME", "metadata.labels['ray.io/cluster']"),
        _field("RAY_CLUSTER_NAMESPACE", "metadata.namespace"),
        _field("RAY_HEAD_POD_NAME", "metadata.name"),
        {"name": "KUBERAY_CRD_VER", "value": "v1"},
        {"name": "KUBERAY_GEN_AUTOSCALER_START_CMD", "value": line},
        *(_auth_env(cluster) if token_auth(cluster["spec"]) else ()),
        *(options.get("env") or ()),
    ]
    image = cluster["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0].get("image", "")
    container = {
        "name": "autoscaler",
        "image": options.get("image") or image,
        "env": env,
        "command": options.get("command") or list(CONTAINER_COMMAND),
        "args": options.get("args") or [line],
        "resources": options.get("resources") or {"limits": amounts, "requests": dict(amounts)},
    }
    for field in ("envFrom", "volumeMounts", "securityContext"):
        if options.get(field):
            container[field] = options[field]
    return container


def _auth_env(cluster: Object) -> list[Object]:
    secret = (cluster["spec"].get("authOptions") or {}).get("secretName") or cluster["metadata"]["name"]
    token = {"secretKeyRef": {"name": secret, "key": "auth_token"}}
    return [{"name": "RAY_AUTH_MODE", "value": "token"}, {"name": "RAY_AUTH_TOKEN", "valueFrom": token}]


def _shared_memory(spec: Object) -> None:
    ray = spec["containers"][0]
    mounts = ray.setdefault("volumeMounts", [])
    if any(mount["mountPath"] == "/dev/shm" for mount in mounts):
        return
    memory = ((ray.get("resources") or {}).get("limits") or {}).get("memory")
    directory = {"medium": "Memory"} | ({"sizeLimit": memory} if memory else {})
    spec.setdefault("volumes", []).append({"name": "shared-mem", "emptyDir": directory})
    mounts.append({"name": "shared-mem", "mountPath": "/dev/shm"})


def _field(name: str, path: str) -> Object:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def _prefix(name: str) -> str:
    return name[:_LONGEST_PREFIX].lower()
