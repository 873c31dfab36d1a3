"""Simulated workers: real Ray nodes on this machine, started and ended as Ray's autoscaler asks.

Ray loads the class by its name from the rendered configuration, in the autoscaler's own process. What the autoscaler
calls an instance is a pod on a cluster and a raylet here.
"""

import itertools
import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ray._private.node import Node
from ray._private.parameter import RayParams
from ray.autoscaler.node_provider import NodeProvider
from ray.autoscaler.tags import NODE_KIND_HEAD, TAG_RAY_NODE_KIND, TAG_RAY_USER_NODE_TYPE

from platform_app.local.autoscaler import HEAD

_log = logging.getLogger(__name__)


@dataclass
class _Worker:
    tags: Mapping[str, str]
    node: Any = None
    """Ray's handle of the processes; None until they are started."""

    @property
    def running(self) -> bool:
        return self.node is not None and self.node.all_processes["raylet"][0].process.poll() is None

    @property
    def dead(self) -> bool:
        return self.node is not None and not self.running


class SimulatedNodeProvider(NodeProvider):
    """Ray's interface of a cloud, for workers that are processes. Its methods are called from several threads."""

    def __init__(self, provider_config: dict[str, Any], cluster_name: str) -> None:
        super().__init__(provider_config, cluster_name)
        self._gcs_address: str = provider_config["gcs_address"]
        self._lock = threading.RLock()
        self._head = {TAG_RAY_NODE_KIND: NODE_KIND_HEAD, TAG_RAY_USER_NODE_TYPE: HEAD}
        self._workers: dict[str, _Worker] = {}
        self._numbers = itertools.count(1)
        # Ray names a node's files by what is there already, so two must not start at one time.
        self._starting = threading.Lock()

    @staticmethod
    def bootstrap_config(cluster_config: dict[str, Any]) -> dict[str, Any]:
        """Accept the configuration as it is."""
        return cluster_config

    def non_terminated_nodes(self, tag_filters: dict[str, str]) -> list[str]:
        """List the head and the workers that are starting or running; one whose raylet died is forgotten."""
        with self._lock:
            for instance in [name for name, worker in self._workers.items() if worker.dead]:
                _log.warning("The raylet of %s has died.", instance)
                del self._workers[instance]
            tags = {HEAD: self._head, **{name: worker.tags for name, worker in self._workers.items()}}
        return [name for name, has in tags.items() if tag_filters.items() <= has.items()]

    def is_running(self, node_id: str) -> bool:
        """Say whether an instance has started; False while it only exists."""
        with self._lock:
            return node_id == HEAD or (node_id in self._workers and self._workers[node_id].running)

    def is_terminated(self, node_id: str) -> bool:
        """Say whether an instance is gone."""
        with self._lock:
            return node_id != HEAD and (node_id not in self._workers or self._workers[node_id].dead)

    def node_tags(self, node_id: str) -> dict[str, str]:
        """Give the tags that the autoscaler set; none for an instance that is gone."""
        with self._lock:
            if node_id == HEAD:
                return dict(self._head)
            return dict(self._workers[node_id].tags) if node_id in self._workers else {}

    def create_node_with_resources_and_labels(
        self,
        node_config: dict[str, Any],  # noqa: ARG002 Ray's interface
        tags: dict[str, str],
        count: int,
        resources: dict[str, float],
        labels: dict[str, str],
    ) -> None:
        """Start workers of one group. They exist at once and run a few seconds later."""
        group = tags[TAG_RAY_USER_NODE_TYPE]
        with self._lock:
            names = [f"{group}-{next(self._numbers)}" for _ in range(count)]
            self._workers.update({name: _Worker(dict(tags)) for name in names})
        for name in names:
            try:
                with self._starting:
                    node = self._start(name, group, resources, labels)
            except Exception:
                # Gone from the list, it is asked for again.
                _log.exception("%s did not start.", name)
                self.terminate_node(name)
                continue
            with self._lock:
                wanted = self._workers.get(name)
                if wanted is not None:
                    wanted.node = node
            if wanted is None:
                _end(node)

    def terminate_node(self, node_id: str) -> None:
        """End an instance; nothing happens when it is gone already."""
        with self._lock:
            worker = self._workers.pop(node_id, None)
        if worker is not None and worker.node is not None:
            _end(worker.node)

    def _start(self, name: str, group: str, resources: Mapping[str, float], labels: Mapping[str, str]) -> Any:
        named = {"CPU": 0.0, "GPU": 0.0, "memory": 0.0, "object_store_memory": 0.0}
        amounts = named | dict(resources)
        params = RayParams(
            gcs_address=self._gcs_address,
            redis_address=self._gcs_address,
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
            env_vars={"RAY_CLOUD_INSTANCE_ID": name, "RAY_NODE_TYPE_NAME": group},
        )
        return Node(params, head=False, shutdown_at_exit=False, spawn_reaper=False)


def _end(node: Any) -> None:
    node.kill_all_processes(check_alive=False, allow_graceful=True)
