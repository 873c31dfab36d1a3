"""The shared filesystem: one claim in each namespace, and all of them the same files."""

from collections.abc import Iterator

from platform_app.domain.doctor.finding import APPLY, Finding, error, warning
from platform_app.domain.doctor.snapshot import Object, Snapshot, Wanted, name_of, namespaces_there


def claims(cluster: Snapshot, wanted: Wanted) -> Iterator[Finding]:
    """See that each namespace has its claim of the shared filesystem, bound, and for many nodes at a time."""
    for namespace in namespaces_there(cluster, wanted):
        claim = cluster.find("PersistentVolumeClaim", wanted.storage_claim, namespace)
        if claim is None:
            what = f"pods in {namespace} wait for a claim that is not there"
            evidence = [f"no PersistentVolumeClaim {namespace}/{wanted.storage_claim}"]
            yield error("claim-absent", what, evidence, APPLY)
            continue
        modes, name = claim["spec"].get("accessModes") or [], name_of(claim)
        if "ReadWriteMany" not in modes:
            what = f"the storage of {namespace} is for one node alone: workers on a second one do not start"
            mend = f"a StorageClass of NFS, EFS or Filestore (k8s/components); delete the claim, then {APPLY}"
            yield error("claim-not-shared", what, [f"PersistentVolumeClaim {name}: {', '.join(modes)}"], mend)
        phase = (claim.get("status") or {}).get("phase", "Pending")
        if phase != "Bound":
            kind = claim["spec"].get("storageClassName")
            what = f"the storage of {namespace} has no volume: its pods wait"
            mend = (
                f"kubectl -n {namespace} describe pvc {wanted.storage_claim}; see the StorageClass {kind} and the "
                "driver's pods (k8s/bootstrap/csi-driver-nfs.yaml)"
            )
            yield error("claim-unbound", what, [f"PersistentVolumeClaim {name}: {phase}, StorageClass {kind}"], mend)


def same_files(cluster: Snapshot, wanted: Wanted) -> Iterator[Finding]:
    """See that the claims of all namespaces show the same files.

    A checkpoint that a job in a team's namespace writes is where the control plane looks for it, or it is lost.
    """
    volumes = {namespace: _volume(cluster, wanted, namespace) for namespace in namespaces_there(cluster, wanted)}
    own = volumes.pop(wanted.namespace, None)
    if own is None:
        return
    for namespace, volume in volumes.items():
        if volume is not None and _place(volume) != _place(own):
            what = f"{namespace} has files of its own: the platform does not find the checkpoints of its jobs"
            evidence = [
                f"{where}: {name_of(one)}, {' '.join(_place(one))}"
                for where, one in ((wanted.namespace, own), (namespace, volume))
            ]
            mend = "one folder for all: `subDir: slipway` in the StorageClass (k8s/components/storage-nfs), new claims"
            yield error("storage-apart", what, evidence, mend)


def one_node(cluster: Snapshot, wanted: Wanted) -> Iterator[Finding]:
    """See that a folder of a node is not taken for a shared filesystem where there are several nodes."""
    own = _volume(cluster, wanted, wanted.namespace)
    nodes = cluster.all("Node")
    if own is not None and "hostPath" in own["spec"] and len(nodes) > 1:
        what = "the storage is a folder of each node, and there are several: what one writes the others do not see"
        path = own["spec"]["hostPath"].get("path")
        evidence = [f"PersistentVolume {name_of(own)}: hostPath {path}; {len(nodes)} nodes"]
        mend = (
            "storage-nfs in the place of storage-single-node in the overlay; on kind, mount one folder into all nodes"
        )
        yield warning("storage-of-one-node", what, evidence, mend)


def _volume(cluster: Snapshot, wanted: Wanted, namespace: str) -> Object | None:
    claim = cluster.find("PersistentVolumeClaim", wanted.storage_claim, namespace)
    name = claim["spec"].get("volumeName") if claim else None
    return cluster.find("PersistentVolume", name) if name else None


def _place(volume: Object) -> tuple[str, ...]:
    """Tell where a volume's files are: equal for two volumes of the same files."""
    spec = volume["spec"]
    if "hostPath" in spec:
        return "hostPath", str(spec["hostPath"].get("path"))
    if "nfs" in spec:
        return "nfs", str(spec["nfs"].get("server")), str(spec["nfs"].get("path"))
    csi = spec.get("csi") or {}
    driver, handle = str(csi.get("driver")), str(csi.get("volumeHandle"))
    attributes = csi.get("volumeAttributes") or {}
    match driver:
        case "nfs.csi.k8s.io":
            # The handle ends in the volume's own name.
            share = str(attributes.get("share", "")).rstrip("/")
            return driver, str(attributes.get("server")), f"{share}/{attributes.get('subDir', '')}".rstrip("/")
        case "efs.csi.aws.com":
            # Each claim has an access point of its own, whose folder Kubernetes does not know.
            return driver, handle.partition(":")[0]
    return driver, handle
