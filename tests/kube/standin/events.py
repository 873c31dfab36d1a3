"""Events: what controllers tell about objects, in both forms that clients read.

Newer controllers record through `events.k8s.io`; read through `core/v1` such an event has neither `count` nor
`lastTimestamp`. Older ones, such as the kubelet and the Cluster Autoscaler, record the other way round.
"""

import uuid
from datetime import UTC, datetime
from typing import Any

from tests.kube.standin.api.errors import ApiError
from tests.kube.standin.api.objects import Api, now


class Recorder:
    """One controller's voice."""

    def __init__(self, api: Api, component: str, *, legacy: bool = False) -> None:
        self._api = api
        self._component = component
        self._legacy = legacy

    def normal(self, obj: dict[str, Any], reason: str, message: str, action: str = "") -> None:
        """Tell that something happened to an object."""
        self._record(obj, "Normal", reason, message, action or reason)

    def warning(self, obj: dict[str, Any], reason: str, message: str, action: str = "") -> None:
        """Tell that something is wrong with an object."""
        self._record(obj, "Warning", reason, message, action or reason)

    def _record(self, obj: dict[str, Any], kind: str, reason: str, message: str, action: str) -> None:
        metadata = obj["metadata"]
        namespace = metadata.get("namespace") or "default"
        about = {key: metadata[key] for key in ("name", "namespace", "uid") if key in metadata}
        about |= {"kind": obj["kind"], "apiVersion": obj["apiVersion"]}
        said = {"type": kind, "reason": reason, "action": action, "involvedObject": about, "message": message}
        known = next((one for one in self._api.store.all("events", namespace) if said.items() <= one.items()), None)
        try:
            if known:
                self._again(known, namespace)
            else:
                self._first(said, namespace)
        except ApiError:
            return  # its namespace is going

    def _first(self, said: dict[str, Any], namespace: str) -> None:
        about = said["involvedObject"]
        name = {"name": f"{about['name']}.{uuid.uuid4().hex[:16]}"}
        moment = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        times: dict[str, Any] = {"firstTimestamp": None, "lastTimestamp": None, "eventTime": moment, "source": {}}
        if self._legacy:
            times = {"firstTimestamp": now(), "lastTimestamp": now(), "eventTime": None, "count": 1}
            times["source"] = {"component": self._component}
        reporter = {"reportingComponent": self._component, "reportingInstance": f"{self._component}-0"}
        self._api.create(self._api.kinds.named("events"), namespace, {"metadata": name, **said, **times, **reporter})
        newer = {"metadata": dict(name), "type": said["type"], "reason": said["reason"], "action": said["action"]}
        newer |= {"regarding": about, "note": said["message"], "eventTime": moment}
        newer |= {"reportingController": self._component, "reportingInstance": f"{self._component}-0"}
        self._api.create(self._api.kinds.at("events.k8s.io", "v1", "events"), namespace, newer)

    def _again(self, known: dict[str, Any], namespace: str) -> None:
        if self._legacy:
            change: dict[str, Any] = {"count": known["count"] + 1, "lastTimestamp": now()}
        else:
            count = (known.get("series") or {"count": 1})["count"] + 1
            change = {"series": {"count": count, "lastObservedTime": datetime.now(UTC).isoformat()}}
        name = known["metadata"]["name"]
        self._api.patch(self._api.kinds.named("events"), namespace, name, change)
