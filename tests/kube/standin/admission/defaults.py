"""What the API server fills in for built-in kinds, as far as anything here reads it."""

import base64
from typing import Any

from tests.kube.standin.api.objects import Api, Writing


class Defaults:
    """Completes new pods and namespaces."""

    def admit(self, api: Api, writing: Writing) -> None:
        """See `Admission`."""
        if writing.verb != "create":
            return
        match writing.kind.resource:
            case "pods":
                complete_pod(writing.obj)
            case "namespaces":
                metadata = writing.obj["metadata"]
                metadata["labels"] = {**(metadata.get("labels") or {}), "kubernetes.io/metadata.name": metadata["name"]}
                writing.obj["status"] = {"phase": "Active"}
            case "secrets":
                _encode(writing.obj)


def complete_pod(pod: dict[str, Any]) -> None:
    """Fill in a pod's defaults; a limit without a request is the request too."""
    spec = pod.setdefault("spec", {})
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("serviceAccountName", "default")
    pod["status"] = {"phase": "Pending"}
    for container in (*spec.get("initContainers", ()), *spec.get("containers", ())):
        resources = container.get("resources") or {}
        if limits := resources.get("limits"):
            container["resources"] = {**resources, "requests": {**limits, **(resources.get("requests") or {})}}


def _encode(secret: dict[str, Any]) -> None:
    plain = secret.pop("stringData", None) or {}
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in plain.items()}
    if encoded:
        secret["data"] = {**(secret.get("data") or {}), **encoded}
