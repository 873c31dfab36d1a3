"""The `ray start` line of a pod, put together as KubeRay does from a group's parameters and its container's limits."""

import json
import re
from collections.abc import Mapping
from typing import Any

from tests.kube.standin.api.quantity import parse, whole

_MIG = re.compile(r"^nvidia\.com/mig-\d+g\.\d+gb$")
_KEEP_VALUE = ("log-color", "include-dashboard", "include-log-monitor")
_ACCELERATORS = {"aws.amazon.com/neuroncore": "neuron_cores", "google.com/tpu": "TPU"}

CONTAINER_COMMAND = ["/bin/bash", "-c", "--"]
"""What runs the line in the Ray container."""


def start_command(group: Mapping[str, Any], *, head: bool, autoscaling: bool, address: str) -> str:
    """Give the line.

    Args:
        group: `headGroupSpec` or one of `workerGroupSpecs`.
        head: it is the head's.
        autoscaling: the cluster has an autoscaler of its own.
        address: host and port where workers find the head.
    """
    params = dict(group.get("rayStartParams") or {})
    _from_fields(params, group.get("resources") or {}, group.get("labels") or {})
    if head:
        params.setdefault("dashboard-host", "0.0.0.0")
        if autoscaling:
            params["no-monitor"] = "true"
    else:
        params.setdefault("address", address)
    params.setdefault("metrics-export-port", "8080")
    params.setdefault("dashboard-agent-listen-port", "52365")
    params["block"] = "true"
    _from_container(params, group["template"]["spec"]["containers"][0].get("resources") or {})
    words = ["ray start", "--head"] if head else ["ray start"]
    return " ".join([*words, *(_flag(name, params[name]) for name in sorted(params) if _flag(name, params[name]))])


def is_gpu(resource: str) -> bool:
    """Say whether KubeRay counts a resource as GPUs for Ray."""
    return resource.endswith("gpu") or bool(_MIG.match(resource))


def _from_fields(params: dict[str, str], resources: Mapping[str, str], labels: Mapping[str, str]) -> None:
    custom: dict[str, float] = {}
    names = {"CPU": "num-cpus", "GPU": "num-gpus", "memory": "memory"}
    for name, quantity in resources.items():
        if name in names:
            params[names[name]] = str(whole(parse(quantity)))
        else:
            custom[name] = float(parse(quantity))
    if custom:
        params["resources"] = f"'{json.dumps(custom)}'"
    if labels:
        params["labels"] = ",".join(f"{name}={labels[name]}" for name in sorted(labels))


def _from_container(params: dict[str, str], resources: Mapping[str, Any]) -> None:
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    cpu = limits.get("cpu") or requests.get("cpu")
    if "num-cpus" not in params and cpu:
        params["num-cpus"] = str(whole(parse(cpu)))
    if "memory" not in params and limits.get("memory"):
        params["memory"] = str(whole(parse(limits["memory"])))
    custom = json.loads(params.get("resources", "{}").strip("'\"` "))
    for name in sorted(limits):
        amount = whole(parse(limits[name]))
        if amount and is_gpu(name):
            params.setdefault("num-gpus", str(amount))
        elif amount and name in _ACCELERATORS and not set(custom) & set(_ACCELERATORS.values()):
            custom[_ACCELERATORS[name]] = amount
            params["resources"] = f"'{json.dumps(custom)}'"


def _flag(name: str, value: str) -> str:
    if value.lower() in ("true", "false") and name not in _KEEP_VALUE:
        return f"--{name}" if value.lower() == "true" else ""
    return f"--{name}={value}"
