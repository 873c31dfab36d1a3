"""The port `Cluster` over Ray's autoscaler (v2): what it sees, counted by worker group."""

from collections import Counter
from collections.abc import Mapping

from platform_app.errors import TemporaryError
from platform_app.ports import GroupCount

_HEADS = frozenset({"head", "headgroup"})
"""Node types of the head: ours on one machine, and KubeRay's."""


class RayCluster:
    """The workers of the Ray cluster that this process is connected to."""

    def workers(self) -> Mapping[str, GroupCount]:
        """Count alive and pending workers by group; a node type of the autoscaler is named as its worker group."""
        import ray
        from ray.autoscaler.v2.sdk import get_cluster_status

        try:
            status = get_cluster_status(ray.get_runtime_context().gcs_address)
        except Exception as error:  # Ray raises RpcError, RuntimeError and others when the GCS is away.
            raise TemporaryError(f"Ray's autoscaler does not answer: {error}") from error
        running = Counter(node.ray_node_type_name for node in (*status.active_nodes, *status.idle_nodes))
        pending = Counter(node.ray_node_type_name for node in status.pending_nodes)
        for launch in status.pending_launches:
            pending[launch.ray_node_type_name] += launch.count
        groups = (running.keys() | pending.keys()) - _HEADS
        return {group: GroupCount(running[group], pending[group]) for group in groups}
