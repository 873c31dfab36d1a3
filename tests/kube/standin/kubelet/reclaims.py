"""Spot nodes are taken back: a notice, a grace period, and an end that waits for nobody."""

import asyncio
from typing import Any

from tests.kube.standin.api.errors import ApiError
from tests.kube.standin.api.objects import Api
from tests.kube.standin.events import Recorder
from tests.kube.standin.kubelet.kubelet import Kubelet
from tests.kube.standin.operator.conditions import set_condition

Object = dict[str, Any]


class Reclaims:
    """Takes nodes back."""

    def __init__(self, api: Api, kubelet: Kubelet) -> None:
        self._api = api
        self._kubelet = kubelet
        self._recorder = Recorder(api, "karpenter")
        self._ends: set[asyncio.Task[None]] = set()

    def reclaim(self, name: str, grace_seconds: float) -> list[str]:
        """Take a node back; the pods that were on it.

        Its pods are evicted at once: SIGTERM, and SIGKILL when their own grace period or the node's is over. Then the
        node is gone.

        Raises:
            ApiError: there is no such node.
        """
        nodes, pods = self._api.kinds.named("nodes"), self._api.kinds.named("pods")
        node = self._api.get(nodes, None, name)
        taints = [*(node["spec"].get("taints") or ()), {"key": "karpenter.sh/disrupted", "effect": "NoSchedule"}]
        self._api.patch(nodes, None, name, {"spec": {"unschedulable": True, "taints": taints}})
        self._recorder.warning(node, "SpotInterrupted", "Spot interruption warning was triggered")
        evicted = self._api.list(pods, None, fields=f"spec.nodeName={name}")
        for pod in evicted:
            self._kubelet.cut(pod, grace_seconds)
            conditions = [dict(one) for one in pod["status"].get("conditions") or ()]
            set_condition(conditions, "DisruptionTarget", True, "EvictionByEvictionAPI", "Eviction API: evicting")
            self._api.set_status(pods, pod, {**pod["status"], "conditions": conditions})
            self._recorder.normal(pod, "Evicted", "Evicted pod: SpotInterrupted")
            grace = min(int(grace_seconds), pod["spec"]["terminationGracePeriodSeconds"])
            self._api.delete(pods, pod["metadata"]["namespace"], pod["metadata"]["name"], grace_seconds=max(1, grace))
        end = asyncio.create_task(self._end(name, grace_seconds))
        self._ends.add(end)
        end.add_done_callback(self._ends.discard)
        return [pod["metadata"]["name"] for pod in evicted]

    async def _end(self, name: str, grace_seconds: float) -> None:
        await asyncio.sleep(grace_seconds)
        try:
            self._api.delete(self._api.kinds.named("nodes"), None, name)
        except ApiError:
            return  # it was empty, and dropped
