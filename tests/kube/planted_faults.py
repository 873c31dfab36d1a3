"""Faults to plant in a right cluster, each by the name of its finding."""
# ruff: noqa: E501  # a row for each fault

from platform_app.manifests.kueue import kueue_objects
from platform_app.specs import load_catalog
from tests.kube.right_cluster import GPU_LABELS, cluster_of, node, of

CATALOG = load_catalog()


def drop(kind, name=None, namespace=None):
    return lambda objects: objects.remove(of(objects, kind, name, namespace))


def change(kind, name, path, value, namespace=None):
    """Give a fault that sets the field at a path, or takes it away where the value is None."""

    def plant(objects):
        place(of(objects, kind, name, namespace), path, value)

    return plant


def ray(path, value):
    """Give a fault of the platform's Ray cluster."""
    return lambda objects: place(cluster_of(objects), path, value)


def place(one, path, value):
    *way, last = path.split("/")
    for step in way:
        one = one[int(step)] if isinstance(one, list) else one[step]
    if value is None:
        del one[int(last) if isinstance(one, list) else last]
    else:
        one[int(last) if isinstance(one, list) else last] = value


def add(*new):
    return lambda objects: objects.extend(new)


def rename(fields, old, new):
    fields[new] = fields.pop(old)


def both(*faults):
    return lambda objects: [fault(objects) for fault in faults]


def service(kind, port):
    metadata = {"name": "door", "namespace": "slipway"}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {"type": kind, "ports": [{"port": port}]},
    }


def ingress(port):
    paths = [{"path": "/", "backend": {"service": {"name": "slipway-head-svc", "port": {"number": port}}}}]
    return {
        "kind": "Ingress",
        "metadata": {"name": "d", "namespace": "slipway"},
        "spec": {"rules": [{"http": {"paths": paths}}]},
    }


def schema(*fields):
    """Make a schema that knows some fields of a Ray cluster's spec."""
    known = {"properties": {field: {"x-kubernetes-preserve-unknown-fields": True} for field in fields}}
    return {"properties": {"spec": known}}


WORKERS, HEAD, POD = "workerGroupSpecs/0", "headGroupSpec/template", "headGroupSpec/template/spec"
TEAM = "team-research"
QUEUE_SET = ray(f"{POD}/containers/0/env/0", {"name": "SLIPWAY_KUEUE_QUEUE", "value": "default"})
KUEUE_ON = both(QUEUE_SET, *(drop("ResourceQuota", "compute", team) for team in (TEAM, "team-product")))
DISRUPTION = "spec/disruption"
VERSIONS = "spec/versions/0"
VOLUME = f"pvc-{TEAM}"
SOME_FIELDS = schema("enableInTreeAutoscaling", "autoscalerOptions", "authOptions", "headGroupSpec", "workerGroupSpecs")
OLD_EVENT = {
    "apiVersion": "v1",
    "kind": "Event",
    "metadata": {"name": "e", "namespace": "slipway"},
    "type": "Warning",
    "reason": "FailedToCreateHeadPod",
    "message": "exceeded quota: tight",
    "involvedObject": {"kind": "RayCluster", "name": "slipway-x1"},
}

# The fault, what the evidence names, what mends it.
FAULTS = {
    "operator-absent": (drop("Deployment", "kuberay-operator"), "kuberay-operator", "--version 1.7.0"),
    "operator-not-ready": (change("Deployment", "kuberay-operator", "status", {}), "0 of 1", "kubectl -n kuberay-system"),
    "operator-version": (
        change("Deployment", "kuberay-operator", "spec/template/spec/containers/0/image", "quay.io/kuberay/operator:v1.5.1"),
        "1.5.1",
        "--server-side",
    ),
    "crd-absent": (drop("CustomResourceDefinition", "rayjobs.ray.io"), "rayjobs.ray.io", "ref=v1.7.0"),
    "crd-older": (
        change("CustomResourceDefinition", "rayclusters.ray.io", f"{VERSIONS}/schema/openAPIV3Schema", SOME_FIELDS),
        "gcsFaultToleranceOptions",
        "--server-side",
    ),
    "priority-class-absent": (drop("PriorityClass", "development"), "development", "k8s/bootstrap"),
    "priority-class-differs": (
        change("PriorityClass", "training-critical", "value", 5),
        "value is 5, the catalog says 500",
        "kubectl delete priorityclass training-critical",
    ),
    "device-plugin-absent": (drop("DaemonSet", "nvidia-device-plugin"), "DaemonSet", "nvidia-device-plugin"),
    "device-plugin-off-gpu-nodes": (
        change("DaemonSet", "nvidia-device-plugin", "spec/template/spec/tolerations", []),
        "node gpu-1: taints nvidia.com/gpu, spot",
        "nvidia-device-plugin.yaml",
    ),
    "gpu-not-offered": (
        change("Node", "gpu-1", "status/allocatable", {"cpu": "8"}),
        "node gpu-1 of gpu-spot offers no GPU",
        "logs daemonset/nvidia-device-plugin",
    ),
    "dcgm-absent": (drop("DaemonSet", "dcgm-exporter"), "DaemonSet", "dcgm-exporter.yaml"),
    "dcgm-off-gpu-nodes": (
        change("DaemonSet", "dcgm-exporter", "spec/template/spec/tolerations", [{"key": "nvidia.com/gpu", "operator": "Exists"}]),
        "node gpu-1",
        "dcgm-exporter.yaml",
    ),
    "pool-absent": (drop("NodePool", "cpu"), "slipway/pool=cpu", "karpenter"),
    "pool-unseen": (
        both(
            drop("NodePool", "cpu"),
            add({"kind": "ConfigMap", "metadata": {"name": "cluster-autoscaler-status", "namespace": "kube-system"}}),
        ),
        "slipway/pool=cpu",
        "cluster-autoscaler.yaml",
    ),
    "gpu-node-unlabelled": (
        add(node("gpu-2", {k: v for k, v in GPU_LABELS.items() if k != "slipway/pool"}, {"nvidia.com/gpu": "1"}, ("spot",))),
        "node gpu-2",
        "kubectl label node NODE slipway/pool=GROUP",
    ),
    "pool-unknown": (
        add(node("cpu-1", {"slipway/pool": "cpus"})),
        "did you mean 'cpu'",
        "kubectl label node",
    ),
    "taint-untolerated": (
        change("NodePool", "gpu-spot", "spec/template/spec/taints/1/key", "dedicated"),
        "NodePool gpu-spot",
        "key: dedicated",
    ),
    "gpu-node-untainted": (change("Node", "gpu-1", "spec/taints", []), "node gpu-1", "kubectl taint node"),
    "pool-not-ready": (
        change("NodePool", "gpu-spot", "status", {"conditions": [{"type": "Ready", "status": "False", "reason": "NodeClassNotFound", "message": "slipway"}]}),
        "NodeClassNotFound",
        "node-class.yaml",
    ),
    "karpenter-evicts": (
        change("NodePool", "gpu-spot", f"{DISRUPTION}/consolidationPolicy", "WhenEmptyOrUnderutilized"),
        "WhenEmptyOrUnderutilized",
        "k8s/bootstrap/karpenter",
    ),
    "karpenter-expires": (change("NodePool", "gpu-spot", "spec/template/spec/expireAfter", None), "720h", "karpenter"),
    "karpenter-drift": (change("NodePool", "gpu-spot", f"{DISRUPTION}/budgets", None), "Drifted", "karpenter"),
    "pool-market": (
        change("NodePool", "gpu-ondemand", "spec/template/spec/requirements/0/values", ["spot", "on-demand"]),
        "NodePool gpu-ondemand",
        "karpenter",
    ),
    "namespace-absent": (drop("Namespace", TEAM), TEAM, "overlays"),
    "namespace-terminating": (
        lambda objects: of(objects, "Namespace", TEAM).update(status={"phase": "Terminating"}),
        "Terminating",
        f"kubectl get namespace {TEAM}",
    ),
    "claim-absent": (drop("PersistentVolumeClaim", "slipway-storage", TEAM), f"{TEAM}/slipway-storage", "overlays"),
    "claim-unbound": (
        change("PersistentVolumeClaim", "slipway-storage", "status/phase", "Pending", TEAM),
        "Pending, StorageClass slipway-shared",
        f"kubectl -n {TEAM} describe pvc",
    ),
    "claim-not-shared": (
        change("PersistentVolumeClaim", "slipway-storage", "spec/accessModes", ["ReadWriteOnce"], TEAM),
        "ReadWriteOnce",
        "NFS",
    ),
    "storage-apart": (
        change("PersistentVolume", VOLUME, "spec/csi/volumeAttributes/subDir", "research"),
        "/research",
        "subDir: slipway",
    ),
    "ray-service-absent": (drop("RayService"), "namespace slipway", "overlays"),
    "secret-absent": (drop("Secret", "slipway-ray-token"), "auth_token", "kubectl -n slipway create secret generic slipway-ray-token"),
    "configmap-absent": (drop("ConfigMap", "postgres-databases"), "postgres-databases", "overlays"),
    "auth-not-token": (ray("authOptions/mode", None), "authOptions.mode is not set", "mode: token"),
    "dashboard-exposed": (add(service("LoadBalancer", 8265)), "LoadBalancer, port 8265", "ClusterIP"),
    "network-open": (drop("NetworkPolicy", "closed", TEAM), TEAM, "overlays"),
    "operator-refuses": (ray(f"{WORKERS}/template/spec/restartPolicy", "Always"), "restartPolicy", "overlays"),
    "autoscaler-off": (ray("enableInTreeAutoscaling", None), "enableInTreeAutoscaling", "enableInTreeAutoscaling: true"),
    "autoscaler-not-v2": (ray("autoscalerOptions/version", None), "not set", "version: v2"),
    "ray-versions-differ": (ray("rayVersion", "2.58.0"), "rayVersion is 2.58.0; Slipway is for 2.60.0", "Dockerfile"),
    "images-differ": (
        ray(f"{WORKERS}/template/spec/containers/0/image", "registry.example.com/slipway-cuda:0.0.9"),
        "slipway-cuda:0.0.9",
        "components/images",
    ),
    "dedicated-image-differs": (
        ray(f"{POD}/containers/0/image", "registry.example.com/slipway:0.1.0"),
        "SLIPWAY_RAY_IMAGE is slipway:0.1.0",
        "components/images",
    ),
    "head-evictable": (drop("PodDisruptionBudget"), "PodDisruptionBudget", "disruption.yaml"),
    "head-on-spot": (ray(f"{POD}/affinity", None), "affinity", "make manifests"),
    "grace-too-short": (
        ray(f"{WORKERS}/template/spec/terminationGracePeriodSeconds", None),
        "terminationGracePeriodSeconds 30, RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S 45",
        "drain_seconds",
    ),
    "group-absent": (ray("workerGroupSpecs/2", None), "cpu", "make manifests"),
    "group-differs": (ray(f"{WORKERS}/maxReplicas", 40), "maxReplicas: 40, the catalog says 4", "make manifests"),
    "team-object-absent": (drop("RoleBinding", "control-plane", TEAM), "RoleBinding team-research/control-plane", "overlays"),
    "quota-differs": (
        change("ResourceQuota", "compute", "spec/hard/requests.cpu", "640", TEAM),
        "requests.cpu: 640, the catalog says 64",
        "catalog",
    ),
    "quota-does-nothing": (
        lambda objects: rename(of(objects, "ResourceQuota", "compute", TEAM)["spec"]["hard"], "requests.nvidia.com/gpu", "limits.nvidia.com/gpu"),
        "limits.nvidia.com/gpu: 4",
        f"write requests.nvidia.com/gpu in its place: kubectl -n {TEAM} edit resourcequota compute",
    ),
    "quota-without-defaults": (drop("LimitRange", None, TEAM), "team-research/compute", "LimitRange"),
    "kueue-absent": (KUEUE_ON, "not served", "install Kueue"),
    "queue-absent": (
        both(KUEUE_ON, add(*(one for one in kueue_objects(CATALOG) if one["metadata"].get("namespace") != TEAM))),
        "LocalQueue team-research/default",
        "components/kueue",
    ),
    "quota-beside-queue": (
        both(QUEUE_SET, drop("ResourceQuota", "compute", "team-product"), add(*kueue_objects(CATALOG))),
        f"ResourceQuota {TEAM}/compute",
        "delete resourcequota compute",
    ),
    "service-not-ready": (change("Deployment", "mlflow", "status", {}), "0 of 1", "app.kubernetes.io/name=mlflow"),
    "serve-app-unhealthy": (
        change(
            "RayService",
            None,
            "status/activeServiceStatus/applicationStatuses/slipway",
            {"status": "DEPLOY_FAILED", "message": "ModuleNotFoundError: platform_app"},
        ),
        "DEPLOY_FAILED: ModuleNotFoundError",
        "kubectl -n slipway logs",
    ),
    "ray-service-not-ready": (
        both(change("RayService", None, "status", {}), add(OLD_EVENT)),
        "FailedToCreateHeadPod: exceeded quota: tight",
        "describe rayservice slipway",
    ),
}  # fmt: skip

# Other ways to the same findings.
VARIANTS = [
    ("crd-older", change("CustomResourceDefinition", "rayjobs.ray.io", f"{VERSIONS}/name", "v1alpha1"), "no version v1"),
    ("taint-untolerated", ray(f"{WORKERS}/template/spec/tolerations", [{"key": "nvidia.com/gpu", "operator": "Exists"}]), "NodePool gpu-spot"),
    ("dashboard-exposed", add(service("NodePort", 8265)), "NodePort"),
    ("dashboard-exposed", add(ingress(8265)), "Ingress slipway/d to slipway-head-svc:8265"),
    ("dashboard-exposed", change("Service", "slipway-head-svc", "spec/type", "LoadBalancer"), "slipway-head-svc"),
    ("network-open", change("NetworkPolicy", "ray-head", "spec/ingress/1/from", None), "NetworkPolicy slipway/ray-head"),
    ("auth-not-token", change("ConfigMap", "ray-environment", "data/RAY_AUTH_MODE", "disabled"), "RAY_AUTH_MODE is disabled"),
    ("secret-absent", change("Secret", "slipway-api", "data", {"token": ""}), "key token_digests"),
    ("head-evictable", ray(f"{HEAD}/metadata/annotations", None), "karpenter.sh/do-not-disrupt"),
    ("head-on-spot", change("Node", "system-1", "metadata/labels", {"karpenter.sh/capacity-type": "spot"}), "pod slipway/slipway-x1-head is on node system-1"),
    ("ray-versions-differ", ray(f"{WORKERS}/template/spec/containers/0/image", "rayproject/ray:2.55.1-py312-gpu"), "ray:2.55.1"),
    ("grace-too-short", change("ConfigMap", "ray-environment", "data/RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S", "300"), "the head: terminationGracePeriodSeconds 120"),
    ("team-object-absent", both(KUEUE_ON, add(*kueue_objects(CATALOG)), drop("ResourceQuota", "jobs", TEAM)), f"{TEAM}/jobs"),
    ("dashboard-exposed", add({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "d", "namespace": TEAM}, "spec": {"defaultBackend": {"service": {"name": "x-head-svc", "port": {"name": "dashboard"}}}}}), f"Ingress {TEAM}/d to x-head-svc:dashboard"),
    ("network-open", change("NetworkPolicy", "ray-head", "spec/ingress/1/from", [{"ipBlock": {"cidr": "0.0.0.0/0"}}]), "ray-head"),
    ("network-open", change("NetworkPolicy", "ray-head", "spec/ingress/0/ports", [{"port": 8000, "endPort": 9000}]), "ray-head"),
    ("storage-apart", change("PersistentVolume", VOLUME, "spec", {"nfs": {"server": "other.example.com", "path": "/"}}), "nfs other.example.com /"),
    ("storage-apart", change("PersistentVolume", VOLUME, "spec", {"csi": {"driver": "ebs.csi.aws.com", "volumeHandle": "vol-1"}}), "ebs.csi.aws.com vol-1"),
    ("storage-of-one-node", lambda objects: [one.update(spec={"hostPath": {"path": "/srv"}}) for one in objects if one["kind"] == "PersistentVolume"], "2 nodes"),
    ("operator-refuses", change("RayService", None, "metadata/name", "a" * 48), "metadata.name"),
    ("group-unknown", lambda objects: cluster_of(objects)["workerGroupSpecs"].append({**cluster_of(objects)["workerGroupSpecs"][2], "groupName": "tpu"}), "tpu"),
    ("queue-absent", both(KUEUE_ON, add(*kueue_objects(CATALOG)), change("ClusterQueue", TEAM, "status", {"conditions": [{"type": "Active", "status": "False", "reason": "FlavorNotFound", "message": "no flavor gpu-spot"}]})), "FlavorNotFound"),
    ("queue-absent", both(KUEUE_ON, add(*(one for one in kueue_objects(CATALOG) if one["kind"] != "ClusterQueue" or one["metadata"]["name"] != TEAM))), "leads to the ClusterQueue team-research"),
]  # fmt: skip

AT_ONCE = (
    "operator-version", "priority-class-absent", "priority-class-differs", "device-plugin-absent", "dcgm-absent",
    "pool-absent", "gpu-node-unlabelled", "pool-unknown", "taint-untolerated", "gpu-node-untainted",
    "karpenter-evicts", "karpenter-expires", "karpenter-drift", "pool-market", "claim-absent", "secret-absent",
    "configmap-absent", "dashboard-exposed", "network-open", "operator-refuses", "autoscaler-off",
    "ray-versions-differ", "head-evictable", "team-object-absent", "quota-differs", "quota-does-nothing",
    "quota-without-defaults", "service-not-ready", "serve-app-unhealthy",
)  # fmt: skip
"""Faults that one cluster can have together, none of which hides another."""
