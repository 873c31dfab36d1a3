"""The port `Cluster` over Ray's autoscaler (v2): what it sees, counted by worker group."""

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime

from platform_app.domain.explain import Sign, Source
from platform_app.domain.supply import GroupCount
from platform_app.errors import TemporaryError

_HEADS = frozenset({"head", "headgroup"})
"""Node types of the head: ours on one machine, and KubeRay's."""


class RayCluster:
    """The workers of the Ray cluster that this process is connected to."""

    def workers(self) -> Mapping[str, GroupCount]:
        """Count alive and pending workers by group, and say what Ray's autoscaler could not launch.

        A node type of the autoscaler is named as its worker group.
        """
        import ray
        from ray.autoscaler.v2.sdk import get_cluster_status

        try:
            status = get_cluster_status(ray.get_runtime_context().gcs_address)
        except Exception as error:  # Ray raises RpcError, RuntimeError and others when the GCS is away.
            raise TemporaryError(f"Ray's autoscaler does not answer: {error}") from error
        running = Counter(node.ray_node_type_name for node in (*status.active_nodes, *status.idle_nodes))
        pending = Counter(node.ray_node_type_name for node in status.pending_nodes)
        since: dict[str, datetime] = {}
        for launch in status.pending_launches:
            group, at = launch.ray_node_type_name, datetime.fromtimestamp(launch.request_ts_s, UTC)
            pending[group] += launch.count
            since[group] = min(at, since.get(group, at))
        troubles: dict[str, tuple[Sign, ...]] = {}
        for launch in status.failed_launches:
            group, at = launch.ray_node_type_name, datetime.fromtimestamp(launch.failed_ts_s or 0, UTC)
            troubles[group] = (Sign(Source.WORKERS, "LaunchFailed", launch.details or "no reason given", group, at),)
        groups = (running.keys() | pending.keys() | troubles.keys()) - _HEADS
        return {
            group: GroupCount(running[group], pending[group], since.get(group), troubles.get(group, ()))
            for group in groups
        }
