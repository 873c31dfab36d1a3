"""What a container's process gets: variables from literals, ConfigMaps, Secrets and the pod's own fields."""

import base64
import re
from collections.abc import Mapping
from typing import Any

from tests.kube.standin.api.objects import Api
from tests.kube.standin.api.quantity import parse, whole

_REFERENCE = re.compile(r"\$\(([A-Za-z_][A-Za-z0-9_]*)\)")
_KEYED = re.compile(r"^metadata\.(labels|annotations)\['(.+)'\]$")

Object = dict[str, Any]


class ConfigError(Exception):
    """A container needs something that is not there; Kubernetes' reason CreateContainerConfigError."""


def variables(api: Api, pod: Object, container: Object) -> dict[str, str]:
    """Give a container's variables. Raises ConfigError where one refers to what is not there."""
    namespace = pod["metadata"]["namespace"]
    values: dict[str, str] = {}
    for source in container.get("envFrom") or ():
        for field, resource in (("configMapRef", "configmaps"), ("secretRef", "secrets")):
            if reference := source.get(field):
                data = _data(api, resource, namespace, reference)
                values |= {f"{source.get('prefix', '')}{key}": value for key, value in data.items()}
    for variable in container.get("env") or ():
        if "valueFrom" in variable:
            value = _from(api, pod, container, variable["valueFrom"])
            if value is not None:
                values[variable["name"]] = value
        else:
            values[variable["name"]] = expand(variable.get("value") or "", values)
    return values


def expand(text: str, values: Mapping[str, str]) -> str:
    """Replace `$(NAME)` by variables that there are, as the kubelet does in commands and values."""
    return _REFERENCE.sub(lambda found: values.get(found[1], found[0]), text)


def _from(api: Api, pod: Object, container: Object, source: Mapping[str, Any]) -> str | None:
    namespace = pod["metadata"]["namespace"]
    for field, resource, kind in (
        ("configMapKeyRef", "configmaps", "ConfigMap"),
        ("secretKeyRef", "secrets", "Secret"),
    ):
        if reference := source.get(field):
            data = _data(api, resource, namespace, reference)
            if reference["key"] not in data and not reference.get("optional"):
                raise ConfigError(f"couldn't find key {reference['key']} in {kind} {namespace}/{reference['name']}")
            return data.get(reference["key"])
    if reference := source.get("fieldRef"):
        return _field(pod, reference["fieldPath"])
    if reference := source.get("resourceFieldRef"):
        which, _, name = reference["resource"].partition(".")
        amount = ((container.get("resources") or {}).get(which) or {}).get(name, "0")
        return str(whole(parse(amount) / parse(reference.get("divisor") or "1")))
    return None


def _data(api: Api, resource: str, namespace: str, reference: Mapping[str, Any]) -> dict[str, str]:
    found = api.find(resource, namespace, reference["name"])
    if found is None:
        if reference.get("optional"):
            return {}
        raise ConfigError(f'{resource.removesuffix("s")} "{reference["name"]}" not found')
    data = found.get("data") or {}
    if resource == "secrets":
        return {key: base64.b64decode(value).decode() for key, value in data.items()}
    return dict(data)


def _field(pod: Object, path: str) -> str:
    if keyed := _KEYED.match(path):
        return (pod["metadata"].get(keyed[1]) or {}).get(keyed[2], "")
    value: Any = pod
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return "" if value is None else str(value)
