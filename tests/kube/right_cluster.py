"""A cluster with nothing wrong: the platform's own manifests, and what charts and controllers make beside them."""

import copy
from functools import cache
from typing import Any

import jsonpatch
import yaml

from platform_app.domain.doctor import Snapshot
from platform_app.manifests.names import RAY_VERSION
from tests.kube.manifests import K8S

Object = dict[str, Any]

NAMESPACES = ("slipway", "team-research", "team-product")
_CLUSTER_WIDE = {"Namespace", "Node", "PersistentVolume", "PriorityClass", "NodePool", "ClusterQueue"}
_LEFT_OUT = {"ServiceAccount", "Role", "ClusterRole", "ClusterRoleBinding", "EC2NodeClass"}


@cache
def _parsed(*paths: str) -> tuple[Object, ...]:
    return tuple(one for path in paths for one in yaml.safe_load_all((K8S / path).read_text()) if one)


def assembled() -> list[Object]:
    """Put the platform together as kustomize does, from the same files, where there may be no kubectl."""
    names = ("rayservice", "disruption", "mlflow", "postgres", "network", "rendered/claim", "rendered/egress")
    platform = copy.deepcopy(_parsed(*(f"base/platform/{name}.yaml" for name in names)))
    for one in platform:
        one["metadata"]["namespace"] = "slipway"
        if one["kind"] == "RayService":
            patch = yaml.safe_load((K8S / "base/platform/rendered/worker-groups.yaml").read_text())
            jsonpatch.apply_patch(one, patch, in_place=True)
    lines = (K8S / "base/platform/rendered/ray.env").read_text().splitlines()
    variables = dict(line.split("=", 1) for line in lines if not line.startswith("#"))
    maps = {"ray-environment": variables, "catalog": {"catalog.yaml": ""}, "postgres-databases": {"databases.sql": ""}}
    return [
        *platform,
        *({**_object("ConfigMap", name, "slipway"), "data": data} for name, data in maps.items()),
        *copy.deepcopy(_parsed("base/teams/teams.yaml", "base/platform/namespace.yaml")),
    ]


def bootstrapped() -> list[Object]:
    """Give what `k8s/bootstrap` makes, Karpenter's NodePools included."""
    return list(copy.deepcopy(_parsed("bootstrap/priority-classes.yaml", "bootstrap/karpenter/base/node-pools.yaml")))


def surroundings(secrets: tuple[str, ...] = ()) -> list[Object]:
    """Give what is made by charts, by hand and by the cloud: operator, GPU daemons, secrets, two nodes, CRDs."""
    keys = {"slipway-database": "password", "slipway-ray-token": "auth_token", "slipway-api": "token_digests"}
    keys |= dict.fromkeys(secrets, "password")
    plugin, exporter = (
        yaml.safe_load((K8S / f"bootstrap/{chart}.yaml").read_text())
        for chart in ("nvidia-device-plugin", "dcgm-exporter")
    )
    marked = {
        "matchExpressions": [
            {"key": "feature.node.kubernetes.io/pci-10de.present", "operator": "In", "values": ["true"]}
        ]
    }
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [marked]}}}
    return [
        {
            **_object("Deployment", "kuberay-operator", "kuberay-system", "apps/v1"),
            "spec": _running("quay.io/kuberay/operator:v1.7.0")
            | {"replicas": 1, "selector": {"matchLabels": {"app": "x"}}},
            "status": {"readyReplicas": 1},
        },
        _daemon("nvidia-device-plugin", {"tolerations": plugin["tolerations"], "affinity": affinity}),
        _daemon("nvidia-device-plugin-mps-control-daemon", {"nodeSelector": {"nvidia.com/mps.capable": "true"}}),
        _daemon("dcgm-exporter", {"tolerations": exporter["tolerations"], "nodeSelector": exporter["nodeSelector"]}),
        *(
            {**_object("Secret", name, "slipway"), "type": "Opaque", "data": {key: "cw=="}}
            for name, key in keys.items()
        ),
        node("system-1", {}),
        node("gpu-1", GPU_LABELS, {"nvidia.com/gpu": "1"}, ("nvidia.com/gpu", "spot")),
        *(definition(plural) for plural in ("rayclusters", "rayjobs", "rayservices")),
    ]


GPU_LABELS = {
    "slipway/pool": "gpu-spot",
    "nvidia.com/gpu.present": "true",
    "feature.node.kubernetes.io/pci-10de.present": "true",
    "karpenter.sh/capacity-type": "spot",
}


def node(name: str, labels: Object, gpus: Object | None = None, taints: tuple[str, ...] = ()) -> Object:
    """Make a node that is ready."""
    ready = {"type": "Ready", "status": "True"}
    return {
        **_object("Node", name),
        "metadata": {"name": name, "labels": labels},
        "spec": {"taints": [{"key": key, "value": "true", "effect": "NoSchedule"} for key in taints]},
        "status": {"allocatable": {"cpu": "8", **(gpus or {})}, "conditions": [ready]},
    }


def definition(plural: str) -> Object:
    """Make a CustomResourceDefinition of KubeRay that knows every field."""
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    kind = "CustomResourceDefinition"
    return {**_object(kind, f"{plural}.ray.io"), "spec": {"group": "ray.io", "versions": [version]}}


def run(objects: list[Object]) -> list[Object]:
    """Add what controllers make of applied objects: bound claims on one share, ready services, a head."""
    made: list[Object] = []
    for one in objects:
        name, namespace = one["metadata"]["name"], one["metadata"].get("namespace")
        match one["kind"]:
            case "PersistentVolumeClaim":
                one["spec"]["volumeName"] = f"pvc-{namespace}"
                one["status"] = {"phase": "Bound"}
                attributes = {"server": "nfs.example.com", "share": "/", "subDir": "slipway"}
                csi = {"driver": "nfs.csi.k8s.io", "volumeHandle": f"nfs#{namespace}", "volumeAttributes": attributes}
                made.append({**_object("PersistentVolume", f"pvc-{namespace}"), "spec": {"csi": csi}})
            case "Deployment" | "StatefulSet":
                one["status"] = {"readyReplicas": 1}
            case "RayService":
                running = {"slipway": {"status": "RUNNING", "message": ""}}
                one["status"] = {
                    "activeServiceStatus": {"rayClusterName": "slipway-x1", "applicationStatuses": running},
                    "conditions": [{"type": "Ready", "status": "True", "reason": "NonZeroServeEndpoints"}],
                }
                made += [_ray_pod("head", "system-1", ready=True), _ray_pod("worker", "gpu-1", ready=False)]
                made.append(_head_service(name))
    return [*objects, *made]


def snapshot(objects: list[Object]) -> Snapshot:
    """Give objects as they would have been read."""
    found: dict[str, list[Object]] = {}
    for one in objects:
        found.setdefault(one["kind"], []).append(one)
    return Snapshot({kind: tuple(all_of) for kind, all_of in found.items()})


def right_cluster() -> list[Object]:
    """Give all objects of a cluster with nothing wrong; each call gives its own."""
    return copy.deepcopy(_right())


@cache
def _right() -> list[Object]:
    return [*run([*bootstrapped(), *assembled()]), *surroundings()]


def _head_service(name: str) -> Object:
    ports = [{"name": "dashboard", "port": 8265, "targetPort": "dashboard"}, {"name": "serve", "port": 8000}]
    return {**_object("Service", f"{name}-head-svc", "slipway"), "spec": {"type": "ClusterIP", "ports": ports}}


def _ray_pod(kind: str, on: str, ready: bool) -> Object:
    labels = {"ray.io/node-type": kind, "ray.io/is-ray-node": "yes", "ray.io/cluster": "slipway-x1"}
    status = {"phase": "Running", "conditions": [{"type": "Ready", "status": str(ready)}]}
    about = {"name": f"slipway-x1-{kind}", "namespace": "slipway", "labels": labels}
    return {**_object("Pod", ""), "metadata": about, "spec": {"nodeName": on, "containers": []}, "status": status}


def _daemon(name: str, pod: Object) -> Object:
    labels = {"matchLabels": {"app": name}}
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "x", "image": "x"}], **pod}}
    return {**_object("DaemonSet", name, "gpu", "apps/v1"), "spec": {"selector": labels, "template": template}}


def _running(image: str) -> Object:
    return {"template": {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "x", "image": image}]}}}


def _object(kind: str, name: str, namespace: str | None = None, version: str = "v1") -> Object:
    where = {"namespace": namespace} if namespace else {}
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, **where}}


def of(objects: list[Object], kind: str, name: str | None = None, namespace: str | None = None) -> Object:
    """Give the first object of a kind and name, to be broken."""
    return next(
        one
        for one in objects
        if one["kind"] == kind
        and name in (None, one["metadata"]["name"])
        and namespace in (None, one["metadata"].get("namespace"))
    )


def cluster_of(objects: list[Object]) -> Object:
    """Give the spec of the platform's Ray cluster, to be broken."""
    spec: Object = of(objects, "RayService")["spec"]["rayClusterConfig"]
    assert spec["rayVersion"] == RAY_VERSION
    return spec
