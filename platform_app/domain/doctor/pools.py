"""Node pools: machines for each worker group, their labels and taints, and what takes them away."""

from collections.abc import Iterator

from platform_app.domain.doctor.finding import Finding, error, few, warning
from platform_app.domain.doctor.gpus import is_gpu_node
from platform_app.domain.doctor.placing import lasting, untolerated
from platform_app.domain.doctor.snapshot import (
    Object,
    Snapshot,
    Wanted,
    condition,
    labels_of,
    name_of,
    ray_cluster,
    templates,
)
from platform_app.domain.validation import nearest
from platform_app.specs import Market

_APPLY = "kubectl apply -k k8s/bootstrap/karpenter/prod   # or dev"


def pools(cluster: Snapshot, wanted: Wanted) -> Iterator[Finding]:
    """See that each worker group has machines, or someone who makes them.

    Under the Cluster Autoscaler an empty pool cannot be seen from within the cluster, so it is a warning there.
    """
    nodes = {labels_of(node).get(wanted.pool_label) for node in cluster.all("Node")}
    made = {_pool_of(pool, wanted) for pool in cluster.all("NodePool")}
    for group in wanted.worker_groups:
        if group in nodes | made:
            continue
        label = f"{wanted.pool_label}={group}"
        evidence = [f"no node and no NodePool has the label {label}"]
        if _has_cluster_autoscaler(cluster):
            what = f"worker group {group} has no machine now, and whether it has a node pool cannot be seen"
            mend = (
                f"see that an empty pool's template has {label} and its taints (k8s/bootstrap/cluster-autoscaler.yaml)"
            )
            yield warning("pool-unseen", what, evidence, mend)
        else:
            what = f"worker group {group} has no node pool: its workers wait for ever"
            mend = f"without Karpenter, make a node pool with the label {label}; with it, {_APPLY}"
            yield error("pool-absent", what, evidence, mend)


def node_labels(cluster: Snapshot, wanted: Wanted) -> Iterator[Finding]:
    """See that GPU nodes have the label by which workers find them; no one else sets it (manifests, POOL_LABEL)."""
    groups = list(wanted.worker_groups)
    bare, unknown = [], []
    for node in cluster.all("Node"):
        pool = labels_of(node).get(wanted.pool_label)
        if pool is None and is_gpu_node(node, wanted):
            bare.append(f"node {name_of(node)}")
        elif pool is not None and pool not in groups:
            unknown.append(f"node {name_of(node)}: {wanted.pool_label}={pool}{nearest(pool, groups)}")
    label = f"kubectl label node NODE {wanted.pool_label}=GROUP   # better in the node pool: new machines lack it"
    if bare:
        what = f"GPU nodes without the label {wanted.pool_label}: no worker can come to stand on them"
        yield warning("gpu-node-unlabelled", what, few(bare), label)
    if unknown:
        what = f"nodes whose {wanted.pool_label} is no worker group of the catalog: no worker asks for them"
        yield warning("pool-unknown", what, few(unknown), label)


def tolerations(cluster: Snapshot, wanted: Wanted) -> Iterator[Finding]:
    """See that a group's workers tolerate the taints of its nodes and NodePools, of which each cloud has its own."""
    pods = {name: template.get("spec", {}) for name, template in templates(ray_cluster(cluster, wanted))}
    for group, rendered in wanted.worker_groups.items():
        pod = pods.get(group) or rendered["template"]["spec"]
        found: dict[str, list[str]] = {}
        for about, taints in _taints(cluster, group, wanted):
            for one in untolerated(pod, taints):
                found.setdefault(_text(one), []).append(about)
        for taint, where in found.items():
            key = taint.partition("=")[0].partition(":")[0]
            yield error(
                "taint-untolerated",
                f"workers of {group} do not tolerate the taint {taint} of their own nodes: they wait for ever",
                few(where),
                f"add {{key: {key}, operator: Exists}} to the tolerations of {group}: `make manifests`, then apply the "
                "overlay again; or take the taint off the node pool",
            )


def gpu_taints(cluster: Snapshot, wanted: Wanted) -> Iterator[Finding]:
    """See that nodes of GPU groups are tainted, or pods without GPUs take their place and hold the machines."""
    groups = {group.name for group in wanted.catalog.worker_groups if group.gpus}
    open_nodes = [
        f"node {name_of(node)}"
        for node in cluster.all("Node")
        if labels_of(node).get(wanted.pool_label) in groups
        and wanted.gpu_taint not in {taint["key"] for taint in lasting(node.get("spec", {}).get("taints"))}
    ]
    if open_nodes:
        what = "GPU nodes without a taint: any pod may stand there, see all GPUs, and keep the machine from going"
        mend = f"kubectl taint node NODE {wanted.gpu_taint}=true:NoSchedule   # better in the node pool"
        yield warning("gpu-node-untainted", what, few(open_nodes), mend)


def pools_ready(cluster: Snapshot, wanted: Wanted) -> Iterator[Finding]:
    """See that Karpenter can make machines of each pool: one whose NodeClass is wrong makes none, and says so here."""
    for pool in cluster.all("NodePool"):
        ready = condition(pool, "Ready")
        if _pool_of(pool, wanted) in wanted.worker_groups and ready.get("status") == "False":
            name = name_of(pool)
            what = f"Karpenter makes no machines of {name}: workers of {_pool_of(pool, wanted)} wait for ever"
            evidence = [f"NodePool {name} is not ready: {ready.get('reason')} {ready.get('message')}"]
            mend = f"kubectl describe nodepool {name}; its NodeClass is k8s/bootstrap/karpenter/base/node-class.yaml"
            yield error("pool-not-ready", what, evidence, mend)


def karpenter(cluster: Snapshot, wanted: Wanted) -> Iterator[Finding]:
    """See that Karpenter takes no machine away on which a training runs.

    Its default, WhenEmptyOrUnderutilized at once, does; so do expiry, which no budget holds back, and drift
    (`kubernetes-sigs/karpenter:pkg/apis/crds/karpenter.sh_nodepools.yaml`).
    """
    for pool in cluster.all("NodePool"):
        if _pool_of(pool, wanted) not in wanted.worker_groups:
            continue
        name, spec = name_of(pool), pool["spec"]
        disruption = spec.get("disruption") or {}
        policy = disruption.get("consolidationPolicy", "WhenEmptyOrUnderutilized")
        if policy != "WhenEmpty":
            what = f"Karpenter moves what runs on half-used machines of {name}: it evicts running training"
            yield error("karpenter-evicts", what, [f"NodePool {name}: consolidationPolicy {policy}"], _APPLY)
        expiry = spec["template"]["spec"].get("expireAfter", "720h")
        if expiry != "Never":
            what = f"Karpenter ends machines of {name} by their age, whatever runs on them"
            yield error("karpenter-expires", what, [f"NodePool {name}: expireAfter {expiry}"], _APPLY)
        if not _holds_drift_back(disruption.get("budgets") or ()):
            what = f"a changed machine image or NodePool lets Karpenter evict running training on {name}"
            evidence = [f'NodePool {name}: no budget {{nodes: "0", reasons: [Drifted]}}']
            yield warning("karpenter-drift", what, evidence, _APPLY)


def markets(cluster: Snapshot, wanted: Wanted) -> Iterator[Finding]:
    """See that Karpenter buys a group's machines on the market that the catalog says, and at that price."""
    groups = {group.name: group for group in wanted.catalog.worker_groups}
    for pool in cluster.all("NodePool"):
        group = groups.get(_pool_of(pool, wanted) or "")
        bought = [
            value
            for one in pool["spec"]["template"]["spec"].get("requirements") or ()
            if one["key"] == "karpenter.sh/capacity-type" and one["operator"] == "In"
            for value in one["values"]
        ]
        if group and bought != [str(group.market)]:
            what = f"worker group {group.name} is for {group.market} machines and may get others"
            bad = error if group.market is Market.ON_DEMAND else warning
            evidence = [f"NodePool {name_of(pool)}: karpenter.sh/capacity-type in {bought or 'anything'}"]
            yield bad("pool-market", what, evidence, _APPLY)


def _pool_of(pool: Object, wanted: Wanted) -> str | None:
    labels = (pool["spec"].get("template", {}).get("metadata") or {}).get("labels") or {}
    value: str | None = labels.get(wanted.pool_label)
    return value


def _taints(cluster: Snapshot, group: str, wanted: Wanted) -> Iterator[tuple[str, list[Object]]]:
    for node in cluster.all("Node"):
        if labels_of(node).get(wanted.pool_label) == group:
            yield f"node {name_of(node)}", node.get("spec", {}).get("taints") or []
    for pool in cluster.all("NodePool"):
        if _pool_of(pool, wanted) == group:
            yield f"NodePool {name_of(pool)}", pool["spec"]["template"]["spec"].get("taints") or []


def _text(taint: Object) -> str:
    value = f"={taint['value']}" if taint.get("value") else ""
    return f"{taint['key']}{value}:{taint['effect']}"


def _holds_drift_back(budgets: list[Object] | tuple[Object, ...]) -> bool:
    return any(
        str(one.get("nodes")) in ("0", "0%")
        and not one.get("schedule")
        and (not one.get("reasons") or "Drifted" in one["reasons"])
        for one in budgets
    )


def _has_cluster_autoscaler(cluster: Snapshot) -> bool:
    # Managed ones run out of sight, and leave their state in this ConfigMap.
    return bool(cluster.find("ConfigMap", "cluster-autoscaler-status", "kube-system")) or any(
        "cluster-autoscaler" in one["metadata"]["name"] for one in cluster.all("Deployment")
    )
