"""The four kinds of patches, each by its content type."""

import copy
from collections.abc import Mapping
from typing import Any

import jsonpatch
import jsonpointer

from tests.kube.standin.api.errors import bad_request, unprocessable

JSON_PATCH = "application/json-patch+json"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"

_MERGE_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "volumes": "name",
    "env": "name",
    "volumeMounts": "mountPath",
    "ports": "containerPort",
    "conditions": "type",
    "imagePullSecrets": "name",
    "ownerReferences": "uid",
}
"""Lists of built-in kinds whose items a strategic patch pairs by a key; `ports` of a Service have another one."""


def merge(old: Any, patch: Any) -> Any:
    """Apply a JSON merge patch (RFC 7386): null deletes, lists are replaced."""
    if not isinstance(patch, Mapping):
        return copy.deepcopy(patch)
    merged = dict(old) if isinstance(old, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge(merged.get(key), value)
    return merged


def strategic(old: Any, patch: Any, field: str = "") -> Any:
    """Apply a strategic merge patch of a built-in kind: as a merge, but known lists are merged item by item."""
    if isinstance(patch, Mapping):
        if patch.get("$patch") == "replace":
            return {key: value for key, value in patch.items() if key != "$patch"}
        merged = dict(old) if isinstance(old, Mapping) else {}
        for key, value in patch.items():
            if key.startswith("$"):
                continue
            if value is None:
                merged.pop(key, None)
            else:
                merged[key] = strategic(merged.get(key), value, key)
        return merged
    if isinstance(patch, list) and isinstance(old, list) and field in _MERGE_KEYS:
        return _merge_items(old, patch, _MERGE_KEYS[field])
    return copy.deepcopy(patch)


def _merge_items(old: list[Any], patch: list[Any], key: str) -> list[Any]:
    if not all(isinstance(item, Mapping) and key in item for item in (*old, *patch)):
        key = "name"
    items = {item.get(key): item for item in old}
    for item in patch:
        if item.get("$patch") == "delete":
            items.pop(item.get(key), None)
        else:
            items[item.get(key)] = strategic(items.get(item.get(key)), item)
    return list(items.values())


def json_patch(old: dict[str, Any], operations: Any) -> dict[str, Any]:
    """Apply a JSON patch (RFC 6902). Raises ApiError 400 for what is none, 422 where it does not apply."""
    if not isinstance(operations, list):
        raise bad_request("error decoding patch: json: cannot unmarshal object into Go value of type jsonpatch.Patch")
    new = copy.deepcopy(old)
    try:
        for operation in operations:
            new = jsonpatch.apply_patch(new, [_as_the_server_reads(new, operation)])
        return new
    except jsonpatch.JsonPatchTestFailed as failed:
        raise unprocessable(f"the server rejected our request due to an error in our request: {failed}") from failed
    except (jsonpatch.JsonPatchException, jsonpointer.JsonPointerException, TypeError, KeyError) as wrong:
        raise unprocessable(f"the server rejected our request due to an error in our request: {wrong}") from wrong


def _as_the_server_reads(obj: dict[str, Any], operation: Any) -> Any:
    """Let a `replace` add a key that is not there: Kubernetes' library does, and Ray's autoscaler counts on it.

    `evanphx/json-patch` v4, `partialDoc.get`: no error for a missing key of an object, unlike RFC 6902.
    """
    if isinstance(operation, Mapping) and operation.get("op") == "replace":
        parent, key = jsonpointer.JsonPointer(operation["path"]).to_last(obj)
        if isinstance(parent, Mapping) and key not in parent:
            return {**operation, "op": "add"}
    return operation


def merge_patch(old: dict[str, Any], patch: Any) -> dict[str, Any]:
    """Apply a merge patch to an object. Raises ApiError 400 for a list, as the real server does."""
    if not isinstance(patch, Mapping):
        raise bad_request("json: cannot unmarshal array into Go value of type map[string]interface {}")
    return merge(old, patch)


def apply(old: dict[str, Any], applied: dict[str, Any], before: dict[str, Any] | None) -> dict[str, Any]:
    """Apply a whole configuration, server-side: what the same manager applied before and leaves out now is removed."""
    return merge(_without(old, before or {}, applied), applied)


def _without(value: Any, before: Any, now: Any) -> Any:
    if not (isinstance(value, Mapping) and isinstance(before, Mapping) and isinstance(now, Mapping)):
        return value
    return {
        key: _without(item, before.get(key), now.get(key))
        for key, item in value.items()
        if key in now or key not in before
    }
