"""One simulated worker: a Ray node on this machine, by Ray's own means."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from ray import NodeID
from ray._private.node import Node
from ray._private.parameter import RayParams
from ray._raylet import GcsClient  # type: ignore[attr-defined]  # Ray's stub of it lacks most
from ray.core.generated.autoscaler_pb2 import DRAIN_NODE_REASON_PREEMPTION

_DEADLINE_BEFORE_KILL = timedelta(seconds=1)
"""Ray calls a death a preemption only when the drain's deadline is over by then."""

_RPC_SECONDS = 5.0


def start(gcs_address: str, name: str, group: str, resources: Mapping[str, float], labels: Mapping[str, str]) -> Node:
    """Start a node and give Ray's handle of its processes, a few seconds later.

    Args:
        gcs_address: host and port of Ray's global control store.
        name: Ray's node name, and the autoscaler's instance id.
        group: the autoscaler's node type.
        resources: amounts by Ray's names; memory in bytes.
        labels: the node's labels.
    """
    named = {"CPU": 0.0, "GPU": 0.0, "memory": 0.0, "object_store_memory": 0.0}
    amounts = named | dict(resources)
    params = RayParams(
        gcs_address=gcs_address,
        redis_address=gcs_address,
        node_name=name,
        num_cpus=amounts["CPU"],
        num_gpus=amounts["GPU"],
        memory=amounts["memory"],
        object_store_memory=amounts["object_store_memory"],
        resources={key: amount for key, amount in resources.items() if key not in named},
        labels=dict(labels),
        min_worker_port=0,
        max_worker_port=0,
        dashboard_agent_listen_port=0,
        # All nodes write to one folder, which the head's monitor reads. One more reader repeats every line.
        include_log_monitor=False,
        # A node that unpacks a working directory first deletes what is there: under the other nodes' workers, in one
        # folder for all.
        runtime_env_dir_name=f"runtime_resources-{name}",
        env_vars={"RAY_CLOUD_INSTANCE_ID": name, "RAY_NODE_TYPE_NAME": group},
    )
    return Node(params, head=False, shutdown_at_exit=False, spawn_reaper=False)


def end(node: Node) -> None:
    """End a node's processes, asking first."""
    node.kill_all_processes(check_alive=False, allow_graceful=True)


def drain(gcs_address: str, ray_node_id: str, kill_at: datetime) -> bool:
    """Tell Ray that a node will be taken back; False when Ray does not know the node yet.

    Raises:
        Exception: what Ray raises when its global control store does not answer.
    """
    gcs = GcsClient(address=gcs_address)
    if not all(gcs.check_alive([NodeID.from_hex(ray_node_id)], timeout=_RPC_SECONDS)):
        return False
    lead = min(_DEADLINE_BEFORE_KILL, (kill_at - datetime.now(UTC)) / 2)
    deadline = int((kill_at - lead).timestamp() * 1000)
    accepted, _ = gcs.drain_node(
        ray_node_id, DRAIN_NODE_REASON_PREEMPTION, "the spot node is reclaimed", deadline, timeout=_RPC_SECONDS
    )
    return accepted
