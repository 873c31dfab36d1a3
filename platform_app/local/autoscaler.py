"""Pure rendering: the catalog as the configuration of Ray's autoscaler for simulated workers on one machine."""

from pathlib import Path
from typing import Any

from platform_app.specs import Catalog, WorkerGroup

HEAD = "head"
"""Node type, node group and instance id of the head."""

OBJECT_STORE_BYTES = 200_000_000
"""Shared memory of each node's object store: little, for all of them share one machine."""


def autoscaling_config(catalog: Catalog, gcs_address: str, market_dir: Path) -> dict[str, Any]:
    """Render the file that `ray start --autoscaling-config` takes.

    Args:
        catalog: the worker groups.
        gcs_address: host and port of Ray's global control store, which the workers join.
        market_dir: folder through which the simulated market is told what to do.
    """
    groups = catalog.worker_groups
    return {
        "cluster_name": "slipway",
        "max_workers": sum(group.max_workers for group in groups),
        "provider": {
            # Ray's name for a provider that is a class somewhere on the Python path.
            "type": "external",
            "module": "platform_app.local.provider.SimulatedNodeProvider",
            "gcs_address": gcs_address,
            "market_dir": str(market_dir),
            # There is no machine to log in to.
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
        },
        "available_node_types": {
            HEAD: {"resources": {}, "node_config": {}, "max_workers": 0},
            **{group.name: _node_type(group) for group in groups},
        },
        "head_node_type": HEAD,
        # All missing workers at once. With the usual 1.0 a group grows from zero one worker at a time.
        "upscaling_speed": 1000.0,
        "auth": {},
        # Required keys that say nothing here.
        "initialization_commands": [],
        "setup_commands": [],
        "head_setup_commands": [],
        "worker_setup_commands": [],
        "head_start_ray_commands": [],
        "worker_start_ray_commands": [],
        "file_mounts": {},
        "cluster_synced_files": [],
        "file_mounts_sync_continuously": False,
        "rsync_exclude": [],
        "rsync_filter": [],
    }


def _node_type(group: WorkerGroup) -> dict[str, Any]:
    resources = {
        "CPU": group.cpus,
        "memory": int(group.memory_gib * 2**30),
        "object_store_memory": OBJECT_STORE_BYTES,
    }
    if group.gpus:
        resources["GPU"] = group.gpus
    if group.accelerator_type:
        # What Ray finds out by itself on a machine that has the accelerator.
        resources[f"accelerator_type:{group.accelerator_type}"] = 1
    return {
        "resources": resources,
        "labels": group.ray_labels,
        "node_config": {},
        "min_workers": group.min_workers,
        "max_workers": group.max_workers,
        "idle_timeout_s": group.idle_timeout_seconds,
        "priority": group.priority,
    }
