"""The port `Cluster` over Ray's autoscaler (v2): what it sees, counted by worker group."""

from collections import Counter
from collections.abc import Mapping

from platform_app.errors import TemporaryError
from platform_app.ports import GroupCount


class RayCluster:
    """The workers of the Ray cluster that this process is connected to."""

    def __init__(self, head_group: str = "ray.head.default") -> None:
        self._head_group = head_group

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
        groups = (running.keys() | pending.keys()) - {self._head_group}
        return {group: GroupCount(running[group], pending[group]) for group in groups}
