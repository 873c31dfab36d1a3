"""Pods get nodes, and pools get more nodes for pods that have none: kube-scheduler and a node autoscaler in one.

Preemption by priority is left out: a pod that does not fit waits.
"""

import time
import uuid
from collections.abc import Sequence
from typing import Any

from tests.kube.standin.api.objects import Api
from tests.kube.standin.events import Recorder
from tests.kube.standin.kubelet.fitting import misfit, unschedulable
from tests.kube.standin.kubelet.pools import Pool
from tests.kube.standin.operator.conditions import set_condition

_RETRY_SECONDS = 5.0

Object = dict[str, Any]


class Scheduler:
    """Places pods, and keeps as many nodes as they need."""

    def __init__(self, api: Api, pools: Sequence[Pool]) -> None:
        self._api = api
        self._scheduler = Recorder(api, "default-scheduler")
        self._autoscaler = Recorder(api, "cluster-autoscaler", legacy=True)
        self.pools = {pool.name: pool for pool in pools}
        self.stock = {pool.name: pool.most for pool in pools}
        self._coming: dict[str, tuple[Pool, float]] = {}
        self._empty_since: dict[str, float] = {}
        self._told: dict[str, tuple[str, float]] = {}
        for pool in pools:
            for number in range(pool.static):
                self._add(pool, f"{pool.name}-{number}")

    def step(self) -> None:
        """Place what fits, ask for nodes for what does not, drop nodes that nothing is on."""
        for name, (pool, at) in list(self._coming.items()):
            if time.monotonic() >= at:
                del self._coming[name]
                self._add(pool, name)
        pods = self._api.list(self._kind("pods"), None)
        nodes = self._api.list(self._kind("nodes"), None)
        expected = list(self._coming)
        for pod in pods:
            if (
                pod["spec"].get("nodeName")
                or pod["metadata"].get("deletionTimestamp")
                or pod["spec"].get("schedulingGates")
            ):
                continue
            self._place(pod, nodes, pods, expected)
        self._drop_empty(nodes, pods)

    def coming(self) -> int:
        """Count the nodes that are on their way."""
        return len(self._coming)

    def _place(self, pod: Object, nodes: list[Object], pods: list[Object], expected: list[str]) -> None:
        reasons = []
        for node in nodes:
            reason = misfit(pod, node, _on(node, pods))
            if reason is None:
                pod["spec"]["nodeName"] = node["metadata"]["name"]
                self._bind(pod)
                return
            reasons.append(reason)
        self._tell(pod, unschedulable(reasons))
        # One node that is on its way is for one pod, as pools here hold whole workers.
        for name in expected:
            if name in self._coming and misfit(pod, self._coming[name][0].node(name), ()) is None:
                expected.remove(name)
                return
        self._ask(pod, nodes)

    def _bind(self, pod: Object) -> None:
        metadata, node = pod["metadata"], pod["spec"]["nodeName"]
        bound = self._api.patch(
            self._kind("pods"), metadata["namespace"], metadata["name"], {"spec": {"nodeName": node}}
        )
        conditions = [dict(one) for one in bound["status"].get("conditions") or ()]
        set_condition(conditions, "PodScheduled", True, "")
        self._api.set_status(self._kind("pods"), bound, {**bound["status"], "conditions": conditions})
        message = f"Successfully assigned {metadata['namespace']}/{metadata['name']} to {node}"
        self._scheduler.normal(pod, "Scheduled", message, "Binding")

    def _tell(self, pod: Object, message: str) -> None:
        uid = pod["metadata"]["uid"]
        said, at = self._told.get(uid, ("", 0.0))
        if said == message and time.monotonic() < at + _RETRY_SECONDS:
            return
        self._told[uid] = message, time.monotonic()
        conditions = [dict(one) for one in pod["status"].get("conditions") or ()]
        set_condition(conditions, "PodScheduled", False, "Unschedulable", message)
        self._api.set_status(self._kind("pods"), pod, {**pod["status"], "conditions": conditions})
        self._scheduler.warning(pod, "FailedScheduling", message, "Scheduling")

    def _ask(self, pod: Object, nodes: list[Object]) -> None:
        reasons = []
        for pool in self.pools.values():
            reason = misfit(pod, pool.node(pool.name), ())
            here = self._count(pool, nodes)
            if reason is None and here < self.stock[pool.name]:
                name = f"{pool.name}-{uuid.uuid4().hex[:5]}"
                self._coming[name] = pool, time.monotonic() + pool.seconds_to_come
                message = f"pod triggered scale-up: [{{{pool.name} {here}->{here + 1} (max: {self.stock[pool.name]})}}]"
                self._autoscaler.normal(pod, "TriggeredScaleUp", message)
                return
            reasons.append(reason or "max node group size reached")
        listed = ", ".join(f"{reasons.count(reason)} {reason}" for reason in sorted(set(reasons)))
        self._autoscaler.normal(pod, "NotTriggerScaleUp", f"pod didn't trigger scale-up: {listed}")

    def _count(self, pool: Pool, nodes: list[Object]) -> int:
        there = sum(node["metadata"]["labels"].get("karpenter.sh/nodepool") == pool.name for node in nodes)
        return there + sum(coming.name == pool.name for coming, _ in self._coming.values())

    def _drop_empty(self, nodes: list[Object], pods: list[Object]) -> None:
        for node in nodes:
            name = node["metadata"]["name"]
            pool = self.pools.get(node["metadata"]["labels"].get("karpenter.sh/nodepool", ""))
            if pool is None or _on(node, pods) or name in {f"{pool.name}-{number}" for number in range(pool.static)}:
                self._empty_since.pop(name, None)
            elif time.monotonic() >= self._empty_since.setdefault(name, time.monotonic()) + pool.seconds_empty:
                self._api.delete(self._kind("nodes"), None, name)

    def _add(self, pool: Pool, name: str) -> None:
        self._api.create(self._kind("nodes"), None, pool.node(name))

    def _kind(self, resource: str) -> Any:
        return self._api.kinds.named(resource)


def _on(node: Object, pods: list[Object]) -> list[Object]:
    """Give the pods that take room on a node."""
    name = node["metadata"]["name"]
    return [
        pod
        for pod in pods
        if pod["spec"].get("nodeName") == name and pod["status"].get("phase") not in ("Succeeded", "Failed")
    ]
