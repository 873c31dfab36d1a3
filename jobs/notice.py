"""Notice that a node is going to be taken away: whoever drains it tells Ray, and Ray's GCS tells whoever asks.

Ray Train tells its workers by a collective call at every step, and trains on until the deadline. Here each worker asks
for its own node from another thread, and the workers agree among themselves (`jobs.agreement`).
"""

import ray
from ray._private import state


def is_draining(node_id: str) -> bool:
    """Say whether a node is being drained; no answer is taken for no.

    Args:
        node_id: Ray's, hexadecimal.
    """
    try:
        return node_id in state.state.get_draining_nodes()
    except Exception:  # the GCS is away, which Ray tells in many ways
        return False


def own_node() -> str:
    """Give the id of the node that this process runs on."""
    return str(ray.get_runtime_context().get_node_id())
