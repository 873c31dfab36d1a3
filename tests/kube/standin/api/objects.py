"""The API server's verbs on objects, as clients of it rely on them; HTTP is elsewhere."""

import copy
import random
import re
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from tests.kube.standin.api import errors, patches
from tests.kube.standin.api.kinds import Kind, Kinds
from tests.kube.standin.api.selectors import by_fields, by_labels
from tests.kube.standin.api.store import Change, Object, Store

_SUFFIX = "bcdfghjklmnpqrstvwxz2456789"
_NAME = re.compile(r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
_LOOSE_NAMES = {"roles", "rolebindings", "clusterroles", "clusterrolebindings"}


@dataclass
class Writing:
    """One create or update on its way through admission, which may change `obj` or raise an ApiError."""

    verb: str
    kind: Kind
    obj: Object
    old: Object | None = None
    strict: bool = False
    """Unknown fields are refused instead of dropped: `?fieldValidation=Strict`."""

    def refuse(self, why: str, causes: list[dict[str, str]] | None = None) -> errors.ApiError:
        """Make admission's refusal of the object."""
        return errors.forbidden(self.kind.resource, self.obj["metadata"]["name"], why, causes)


class Admission(Protocol):
    """One step between a request and the store."""

    def admit(self, api: "Api", writing: Writing) -> None:
        """Change the object or refuse it by raising ApiError."""
        ...


class Api:
    """The verbs. It belongs to one event loop, and never waits."""

    def __init__(self, admission: Iterable[Admission] = ()) -> None:
        self.kinds = Kinds()
        self.store = Store()
        self.store.after.append(self._follow)
        self._admission = tuple(admission)
        self._applied: dict[tuple[str, str | None, str, str], Object] = {}

    def create(
        self, kind: Kind, namespace: str | None, obj: Object, *, dry_run: bool = False, strict: bool = False
    ) -> Object:
        """Store a new object and give it. Raises ApiError when it exists, is wrong, or is not admitted."""
        new = copy.deepcopy(obj)
        metadata = self._check(kind, namespace, new)
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = metadata["generateName"] + "".join(random.choices(_SUFFIX, k=5))
        _check_name(kind, metadata)
        metadata.update(uid=str(uuid.uuid4()), creationTimestamp=now(), generation=1)
        metadata.pop("deletionTimestamp", None)
        if kind.has_status:
            new.pop("status", None)
        writing = Writing("create", kind, new, strict=strict)
        if self.store.find(kind, metadata.get("namespace"), metadata["name"]):
            raise errors.already_exists(kind.resource, metadata["name"])
        self._admit(writing)
        return copy.deepcopy(writing.obj if dry_run else self.store.put(kind, writing.obj))

    def get(self, kind: Kind, namespace: str | None, name: str) -> Object:
        """Give an object. Raises ApiError 404."""
        return copy.deepcopy(self._stored(kind, namespace, name))

    def find(self, resource: str, namespace: str | None, name: str) -> Object | None:
        """Give an object of a resource by its name; None when it, or its kind, is not there."""
        try:
            return copy.deepcopy(self.store.find(self.kinds.named(resource), namespace, name))
        except errors.ApiError:
            return None

    def list(
        self, kind: Kind, namespace: str | None, labels: str | None = None, fields: str | None = None
    ) -> list[Object]:
        """Give the objects that the selectors select."""
        by_label, by_field = by_labels(labels), by_fields(fields)
        found = [obj for obj in self.store.all(kind.resource, namespace) if by_label(obj) and by_field(obj)]
        return copy.deepcopy(found)

    def update(
        self,
        kind: Kind,
        namespace: str | None,
        name: str,
        obj: Object,
        *,
        status: bool = False,
        dry_run: bool = False,
        strict: bool = False,
    ) -> Object:
        """Replace an object, or only its status. Raises ApiError 409 for a stale resource version."""
        old = self._stored(kind, namespace, name)
        sent = (obj.get("metadata") or {}).get("resourceVersion")
        if sent and sent != old["metadata"]["resourceVersion"]:
            raise errors.conflict(kind.resource, name)
        new = _merged(kind, old, obj, status)
        if new == old:
            return copy.deepcopy(old)
        writing = Writing("update", kind, new, old=old, strict=strict)
        if not status:
            self._admit(writing)
            changed = any(writing.obj.get(key) != old.get(key) for key in {*writing.obj, *old} - {"metadata", "status"})
            writing.obj["metadata"]["generation"] = old["metadata"].get("generation", 1) + changed
        if dry_run:
            return copy.deepcopy(writing.obj)
        stored = self.store.put(kind, writing.obj)
        if stored["metadata"].get("deletionTimestamp") and not stored["metadata"].get("finalizers"):
            self._remove_if_done(kind, stored)
        return copy.deepcopy(stored)

    def patch(
        self,
        kind: Kind,
        namespace: str | None,
        name: str,
        patch: Any,
        content_type: str = patches.MERGE,
        manager: str | None = None,
        **options: bool,
    ) -> Object:
        """Change an object by a patch. Raises ApiError for a patch that is wrong or does not apply."""
        if content_type == patches.APPLY:
            return self._apply(kind, namespace, name, patch, manager, **options)
        old = self._stored(kind, namespace, name)
        if content_type == patches.JSON_PATCH:
            new = patches.json_patch(old, patch)
        elif content_type == patches.MERGE:
            new = patches.merge_patch(old, patch)
        elif content_type == patches.STRATEGIC and not kind.custom:
            new = patches.strategic(old, patch)
        else:
            accepted = (patches.JSON_PATCH, patches.MERGE, patches.APPLY)
            raise errors.unsupported_media_type(content_type, accepted)
        return self.update(kind, namespace, name, new, **options)

    def _apply(
        self, kind: Kind, namespace: str | None, name: str, applied: Object, manager: str | None, **options: bool
    ) -> Object:
        if not manager:
            raise errors.unprocessable(
                'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch'
            )
        key = kind.resource, namespace, name, manager
        old = self.store.find(kind, namespace, name)
        if old is None:
            options.pop("status", None)
            applied.setdefault("metadata", {})["name"] = name
            result = self.create(kind, namespace, applied, **options)
        else:
            new = patches.apply(old, applied, self._applied.get(key))
            result = self.update(kind, namespace, name, new, **options)
        self._applied[key] = copy.deepcopy(applied)
        return result

    def delete(self, kind: Kind, namespace: str | None, name: str, grace_seconds: int | None = None) -> Object:
        """Delete an object, or mark it for those who have to finish first: finalizers, and a node that runs the pod."""
        stored = self._stored(kind, namespace, name)
        metadata = stored["metadata"]
        waits = _seconds_to_end(kind, stored, grace_seconds)
        if metadata.get("finalizers") or waits or kind.resource == "namespaces":
            if not metadata.get("deletionTimestamp"):
                marked = copy.deepcopy(stored)
                marked["metadata"].update(deletionTimestamp=now(), deletionGracePeriodSeconds=waits)
                if kind.resource == "namespaces":
                    marked["status"] = {"phase": "Terminating"}
                stored = self.store.put(kind, marked)
            if kind.resource == "namespaces":
                self._empty(name)
            return copy.deepcopy(stored)
        self.store.remove(kind, stored)
        return copy.deepcopy(stored)

    def set_status(self, kind: Kind, obj: Object, status: Object) -> Object | None:
        """Replace the status of an object that may be gone meanwhile, as a controller does."""
        metadata = obj["metadata"]
        if self.store.find(kind, metadata.get("namespace"), metadata["name"]) is None:
            return None
        changed = {"metadata": {}, "status": status}
        return self.update(kind, metadata.get("namespace"), metadata["name"], changed, status=True)

    def _stored(self, kind: Kind, namespace: str | None, name: str) -> Object:
        stored = self.store.find(kind, namespace if kind.namespaced else None, name)
        if stored is None:
            raise errors.not_found(kind.resource, name)
        return stored

    def _admit(self, writing: Writing) -> None:
        for step in self._admission:
            step.admit(self, writing)

    def _check(self, kind: Kind, namespace: str | None, obj: Object) -> Object:
        if not isinstance(obj, dict):
            raise errors.bad_request("the body of the request is not an object")
        if (
            obj.setdefault("apiVersion", kind.api_version) != kind.api_version
            or obj.setdefault("kind", kind.name) != kind.name
        ):
            raise errors.bad_request(
                f"{obj['kind']} in version {obj['apiVersion']!r} cannot be handled as a {kind.name}: no kind"
                f" {obj['kind']!r} is registered for version {kind.api_version!r}"
            )
        metadata: Object = obj.setdefault("metadata", {})
        if kind.namespaced:
            if metadata.setdefault("namespace", namespace) != namespace:
                raise errors.bad_request(
                    "the namespace of the provided object does not match the namespace sent on the request"
                )
        else:
            metadata.pop("namespace", None)
        return metadata

    def _empty(self, namespace: str) -> None:
        for resource, obj in self.store.everything():
            metadata = obj["metadata"]
            if metadata.get("namespace") == namespace and not metadata.get("deletionTimestamp"):
                self.delete(self.kinds.named(resource), namespace, metadata["name"])
        self._finish(namespace)

    def _finish(self, namespace: str | None) -> None:
        kind = self.kinds.named("namespaces")
        stored = self.store.find(kind, None, namespace or "")
        if stored is None or not stored["metadata"].get("deletionTimestamp") or stored["metadata"].get("finalizers"):
            return
        if not any(obj["metadata"].get("namespace") == namespace for _, obj in self.store.everything()):
            self.store.remove(kind, stored)

    def _remove_if_done(self, kind: Kind, stored: Object) -> None:
        if kind.resource == "namespaces":
            self._empty(stored["metadata"]["name"])
        elif not _seconds_to_end(kind, stored, None):
            self.store.remove(kind, stored)

    def _follow(self, change: Change) -> None:
        happened, resource, obj = change
        if resource == "customresourcedefinitions.apiextensions.k8s.io":
            (self.kinds.remove if happened == "DELETED" else self.kinds.install)(obj)
        if happened != "DELETED":
            return
        uid = obj["metadata"]["uid"]
        for owned_resource, owned in self.store.everything():
            metadata = owned["metadata"]
            owners = metadata.get("ownerReferences") or ()
            if any(owner["uid"] == uid for owner in owners) and not metadata.get("deletionTimestamp"):
                self.delete(self.kinds.named(owned_resource), metadata.get("namespace"), metadata["name"])
        self._finish(obj["metadata"].get("namespace"))


def now() -> str:
    """Give the time as Kubernetes writes it, in whole seconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _check_name(kind: Kind, metadata: Object) -> None:
    name = metadata.get("name") or ""
    if not name:
        raise errors.invalid(kind.group_kind, "", "metadata.name: Required value: name or generateName is required")
    if kind.plural not in _LOOSE_NAMES and not _NAME.match(name):
        rule = (
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must"
            " start and end with an alphanumeric character"
        )
        raise errors.invalid(kind.group_kind, name, f'metadata.name: Invalid value: "{name}": {rule}')


def _merged(kind: Kind, old: Object, new: Object, status: bool) -> Object:
    """Take from a sent object only what the endpoint may write."""
    if status:
        return {**copy.deepcopy(old), "status": copy.deepcopy(new.get("status") or {})}
    result = copy.deepcopy(new)
    if kind.has_status:
        result.pop("status", None)
        if "status" in old:
            result["status"] = copy.deepcopy(old["status"])
    kept = ("uid", "creationTimestamp", "resourceVersion", "generation", "deletionTimestamp", "name", "namespace")
    metadata = {key: value for key, value in (result.get("metadata") or {}).items() if key not in kept}
    metadata.update({key: old["metadata"][key] for key in kept if key in old["metadata"]})
    return {**result, "apiVersion": kind.api_version, "kind": kind.name, "metadata": metadata}


def _seconds_to_end(kind: Kind, obj: Object, asked: int | None) -> int:
    """Say how long a node may take to end a pod; 0 when no node runs it, or the caller will not wait."""
    if kind.resource != "pods" or not (obj.get("spec") or {}).get("nodeName") or asked == 0:
        return 0
    return asked or obj["metadata"].get("deletionGracePeriodSeconds") or _grace(obj)


def _grace(pod: Object) -> int:
    grace = pod["spec"].get("terminationGracePeriodSeconds")
    return 30 if grace is None else max(1, int(grace))
