"""Simulated workers: real Ray nodes on this machine, started and ended as Ray's autoscaler asks and the market allows.

Ray loads the class by its name from the rendered configuration, in the autoscaler's own process. What the autoscaler
calls an instance is a pod on a cluster and a raylet here.
"""

import itertools
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
from ray.autoscaler.node_provider import NodeProvider
from ray.autoscaler.tags import NODE_KIND_HEAD, TAG_RAY_NODE_KIND, TAG_RAY_USER_NODE_TYPE

from platform_app.local import raylet
from platform_app.local.autoscaler import HEAD
from platform_app.local.orders import Orders
from platform_app.local.processes import kill_tree
from platform_app.local.spot import Market, Node, NodeState, startable, surplus

_log = logging.getLogger(__name__)

_SETTLE_SECONDS = 0.2


@dataclass
class _Worker:
    tags: Mapping[str, str]
    resources: Mapping[str, float]
    labels: Mapping[str, str]
    since: datetime
    starts: bool = False
    """Its start has begun; until then it is pending."""
    node: Any = None
    """Ray's handle of the processes; None until they are started."""
    kill_at: datetime | None = None

    @property
    def group(self) -> str:
        return self.tags[TAG_RAY_USER_NODE_TYPE]

    @property
    def raylet(self) -> Any:
        return self.node.all_processes["raylet"][0].process

    @property
    def running(self) -> bool:
        return self.node is not None and self.raylet.poll() is None

    @property
    def dead(self) -> bool:
        return self.node is not None and not self.running

    @property
    def state(self) -> NodeState:
        if not self.starts:
            return NodeState.PENDING
        if self.node is None:
            return NodeState.STARTING
        return NodeState.DRAINING if self.kill_at else NodeState.RUNNING


class SimulatedNodeProvider(NodeProvider):
    """Ray's interface of a cloud, for workers that are processes. Its methods are called from several threads.

    Args:
        provider_config: the part `provider` of the rendered configuration.
        cluster_name: the cluster's name in it.
        watch: follow the market all the time, in a thread.
        clock: gives the present moment, in UTC.
    """

    def __init__(
        self,
        provider_config: dict[str, Any],
        cluster_name: str,
        watch: bool = True,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        super().__init__(provider_config, cluster_name)
        self._gcs_address: str = provider_config["gcs_address"]
        self._orders = Orders(Path(provider_config["market_dir"]))
        self._clock = clock
        self._lock = threading.RLock()
        self._is_head_ended = False
        self._head = {TAG_RAY_NODE_KIND: NODE_KIND_HEAD, TAG_RAY_USER_NODE_TYPE: HEAD}
        self._workers: dict[str, _Worker] = {}
        self._numbers = itertools.count(1)
        # Ray names a node's files by what is there already, so two must not start at one time.
        self._turn = threading.Lock()
        self._published: Market | None = None
        if watch:
            threading.Thread(target=self._watch, name="market", daemon=True).start()

    @staticmethod
    def bootstrap_config(cluster_config: dict[str, Any]) -> dict[str, Any]:
        """Accept the configuration as it is."""
        return cluster_config

    def non_terminated_nodes(self, tag_filters: dict[str, str]) -> list[str]:
        """List the head and the workers that wait, start or run; one whose raylet died is forgotten."""
        with self._lock:
            self._forget_the_dead()
            head = {} if self._is_head_ended else {HEAD: self._head}
            self._is_head_ended = False
            tags = {**head, **{name: worker.tags for name, worker in self._workers.items()}}
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
        """Start workers of one group, one after the other. Those for which there is no stock exist and wait."""
        group = tags[TAG_RAY_USER_NODE_TYPE]
        for _ in range(count):
            # It exists from its turn on: the time that the catalog gives it to come is its own.
            with self._turn:
                with self._lock:
                    name = f"{group}-{next(self._numbers)}"
                    self._workers[name] = _Worker(dict(tags), resources, labels, self._clock())
                    starts = self._claim(name)
                if starts:
                    self._launch(name)

    def terminate_node(self, node_id: str) -> None:
        """End an instance; nothing happens when it is gone already.

        The head is not ended, which the autoscaler asks for when it was slow to come: it waits no longer for a head
        than for a spot node, and starts no worker before it has one. Left out of the list once, the head is found anew.
        """
        with self._lock:
            self._is_head_ended |= node_id == HEAD
            worker = self._workers.pop(node_id, None)
        if worker is not None and worker.node is not None:
            raylet.end(worker.node)

    def settle(self) -> list[str]:
        """Do what the market asks for now: notices and kills; then tell what there is.

        Returns:
            The waiting workers for which there is stock now; `start_waiting` is due for each.
        """
        with self._lock:
            for worker in self._workers.values():
                if worker.running and worker.kill_at and worker.kill_at <= self._clock():
                    kill_tree(psutil.Process(worker.raylet.pid))
            self._forget_the_dead()
            limits, notices = self._orders.limits(), self._orders.notices()
            for group in {worker.group for worker in self._workers.values()} & limits.keys():
                for node in surplus(self._nodes(group), limits[group]):
                    notices.setdefault(node.name, limits[group].notice_seconds)
            for name, seconds in notices.items():
                self._reclaim(name, seconds)
            claimed = [name for name, worker in self._workers.items() if not worker.starts and self._claim(name)]
            market = Market(limits=limits, nodes=self._nodes())
            if market != self._published:
                self._orders.publish(market)
                self._published = market
        return claimed

    def start_waiting(self, name: str) -> None:
        """Start a worker that `settle` gave."""
        with self._turn:
            self._launch(name)

    def _watch(self) -> None:
        while True:
            try:
                for name in self.settle():
                    threading.Thread(target=self.start_waiting, args=(name,), daemon=True).start()
            except Exception:
                # The next round finds what this one did not do.
                _log.exception("The market was not followed.")
            time.sleep(_SETTLE_SECONDS)

    def _nodes(self, group: str | None = None) -> tuple[Node, ...]:
        return tuple(
            Node(
                name=name,
                group=worker.group,
                state=worker.state,
                since=worker.since,
                raylet_pid=worker.raylet.pid if worker.node else None,
                ray_node_id=worker.node.node_id if worker.node else None,
                kill_at=worker.kill_at,
            )
            for name, worker in self._workers.items()
            if group in (None, worker.group)
        )

    def _forget_the_dead(self) -> None:
        for name in [name for name, worker in self._workers.items() if worker.dead]:
            _log.warning("The raylet of %s has died.", name)
            del self._workers[name]

    def _claim(self, name: str) -> bool:
        worker = self._workers[name]
        free = startable(self._nodes(worker.group), self._orders.limits().get(worker.group))
        worker.starts = any(node.name == name for node in free)
        return worker.starts

    def _launch(self, name: str) -> None:
        with self._lock:
            worker = self._workers.get(name)
        if worker is None:
            return
        try:
            node = self._start(name, worker.group, worker.resources, worker.labels)
        except Exception:
            # Gone from the list, it is asked for again.
            _log.exception("%s did not start.", name)
            self.terminate_node(name)
            return
        with self._lock:
            worker.node = node
            wanted = name in self._workers
        if not wanted:
            raylet.end(node)

    def _reclaim(self, name: str, seconds: float) -> None:
        worker = self._workers.get(name)
        if worker is not None and worker.state is NodeState.STARTING:
            return  # Ray knows it only later.
        if worker is not None and worker.state is NodeState.RUNNING:
            kill_at = self._clock() + timedelta(seconds=seconds)
            if seconds and not self._drain(worker.node.node_id, kill_at):
                return
            worker.kill_at = kill_at
        self._orders.notice_given(name)

    def _drain(self, ray_node_id: str, kill_at: datetime) -> bool:
        return raylet.drain(self._gcs_address, ray_node_id, kill_at)

    def _start(self, name: str, group: str, resources: Mapping[str, float], labels: Mapping[str, str]) -> Any:
        return raylet.start(self._gcs_address, name, group, resources, labels)
