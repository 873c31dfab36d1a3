"""GPUs: the device plugin that offers them, and the exporter that measures them."""

from collections.abc import Callable, Iterator

from platform_app.domain.doctor.finding import Finding, Severity, error, few
from platform_app.domain.doctor.placing import stands_on
from platform_app.domain.doctor.snapshot import Object, Snapshot, Wanted, condition, labels_of, name_of

_MARKS = {"nvidia.com/gpu.present": "true", "feature.node.kubernetes.io/pci-10de.present": "true"}
"""Labels by which GPU feature discovery and node feature discovery mark nodes."""
_CLOUD_MARKS = ("cloud.google.com/gke-accelerator", "k8s.amazonaws.com/accelerator")
_PLUGIN = "helm upgrade --install nvidia-device-plugin nvdp/nvidia-device-plugin --version 0.20.0 --namespace gpu --values k8s/bootstrap/nvidia-device-plugin.yaml"  # noqa: E501  # one line to copy
_EXPORTER = "helm upgrade --install dcgm-exporter gpu-helm-charts/dcgm-exporter --version 4.8.2 --namespace gpu --values k8s/bootstrap/dcgm-exporter.yaml"  # noqa: E501


def device_plugin(cluster: Snapshot, wanted: Wanted) -> Iterator[Finding]:
    """See that the device plugin is there and may stand on every GPU node (`NVIDIA/k8s-device-plugin`)."""
    what = "no GPU is offered to pods: a worker that asks for one waits for ever"
    yield from _daemons(cluster, wanted, "device-plugin", _is_device_plugin, Severity.ERROR, what, _PLUGIN)


def gpu_numbers(cluster: Snapshot, wanted: Wanted) -> Iterator[Finding]:
    """See that dcgm-exporter is there and may stand on every GPU node.

    Its chart's tolerations are for control planes, so by default it is absent where GPU nodes are tainted
    (`NVIDIA/dcgm-exporter:deployment/values.yaml`).
    """
    what = "nobody sees whether GPUs work or stand idle, and no alert comes of a broken one"
    yield from _daemons(cluster, wanted, "dcgm", _is_exporter, Severity.WARNING, what, _EXPORTER)


def gpus_offered(cluster: Snapshot, wanted: Wanted) -> Iterator[Finding]:
    """See that nodes of a GPU group's pool offer what its workers ask for: whole GPUs, shares or MIG slices."""
    groups = {group.name: group for group in wanted.catalog.worker_groups if group.gpus}
    lacking: dict[str, list[str]] = {}
    for node in cluster.all("Node"):
        group = groups.get(labels_of(node).get(wanted.pool_label, ""))
        offered = (node.get("status") or {}).get("allocatable") or {}
        # A node that is not covered by any plugin is told of by `device_plugin`.
        if (
            group
            and _covered(cluster, node)
            and condition(node, "Ready").get("status") == "True"
            and offered.get(group.gpu_resource, "0") == "0"
        ):
            there = ", ".join(f"{key}={n}" for key, n in sorted(offered.items()) if "nvidia.com/" in key) or "no GPU"
            lacking.setdefault(group.gpu_resource, []).append(f"node {name_of(node)} of {group.name} offers {there}")
    for resource, nodes in lacking.items():
        yield error(
            "gpu-not-offered",
            f"nodes that are for GPUs do not offer {resource}: workers wait for them and do not come",
            few(nodes),
            _offering(resource),
        )


def is_gpu_node(node: Object, wanted: Wanted) -> bool:
    """Tell whether a node has GPUs, whether or not the device plugin has found them."""
    labels = labels_of(node)
    status = node.get("status") or {}
    amounts = {**(status.get("capacity") or {}), **(status.get("allocatable") or {})}
    has_gpus = {group.name for group in wanted.catalog.worker_groups if group.gpus}
    return (
        any(key.startswith("nvidia.com/") and amount != "0" for key, amount in amounts.items())
        or any(labels.get(key) == value for key, value in _MARKS.items())
        or any(key in labels for key in _CLOUD_MARKS)
        or labels.get(wanted.pool_label) in has_gpus
    )


def _daemons(
    cluster: Snapshot,
    wanted: Wanted,
    name: str,
    is_meant: Callable[[Object], bool],
    severity: Severity,
    what: str,
    mend: str,
) -> Iterator[Finding]:
    if not any(group.gpus for group in wanted.catalog.worker_groups):
        return
    daemons = [one for one in cluster.all("DaemonSet") if is_meant(one)]
    if not daemons:
        yield Finding(f"{name}-absent", severity, what, (f"there is no DaemonSet of {name}",), mend)
        return
    missed = [
        f"node {name_of(node)}: {_why_not(node)}"
        for node in cluster.all("Node")
        if is_gpu_node(node, wanted) and not any(stands_on(_pod(one), node) for one in daemons)
    ]
    if missed:
        which = ", ".join(f"DaemonSet {name_of(one)}" for one in daemons)
        yield Finding(
            f"{name}-off-gpu-nodes", severity, f"{which} may not stand on GPU nodes: {what}", few(missed), mend
        )


def _why_not(node: Object) -> str:
    taints = ", ".join(t["key"] for t in node.get("spec", {}).get("taints") or ()) or "none"
    return f"taints {taints}; its selector, affinity or tolerations keep it away"


def _is_device_plugin(daemon: Object) -> bool:
    name = daemon["metadata"]["name"]
    # The chart's other DaemonSets are named after it.
    others = ("mps", "feature-discovery")
    return "nvidia" in name and "device-plugin" in name and not any(other in name for other in others)


def _is_exporter(daemon: Object) -> bool:
    return "dcgm-exporter" in daemon["metadata"]["name"]


def _covered(cluster: Snapshot, node: Object) -> bool:
    return any(_is_device_plugin(one) and stands_on(_pod(one), node) for one in cluster.all("DaemonSet"))


def _pod(daemon: Object) -> Object:
    spec: Object = daemon["spec"]["template"]["spec"]
    return spec


def _offering(resource: str) -> str:
    if resource.endswith(".shared"):
        return "kubectl label node NODE nvidia.com/device-plugin.config=shared-4"
    if "/mig-" in resource:
        return "kubectl label node NODE nvidia.com/device-plugin.config=mig-mixed, and nvidia.com/mig.config=SLICES"
    return "kubectl -n gpu logs daemonset/nvidia-device-plugin; the node's image needs NVIDIA's driver and toolkit"
