"""What is stored: objects by kind, namespace and name, and every change of them for those who watch."""

import asyncio
import copy
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.kube.standin.api.errors import gone
from tests.kube.standin.api.kinds import Kind

Object = dict[str, Any]
Change = tuple[str, str, Object]
"""What happened (ADDED, MODIFIED, DELETED), to which resource, and the object after it."""

_REMEMBERED = 20_000


class Store:
    """The objects of one cluster. It belongs to one event loop."""

    def __init__(self) -> None:
        self._objects: dict[str, dict[tuple[str | None, str], Object]] = {}
        self._version = 0
        self._history: deque[tuple[int, Change]] = deque(maxlen=_REMEMBERED)
        self._watchers: list[asyncio.Queue[Change]] = []
        self.after: list[Callable[[Change], None]] = []
        """Called after each change, in the order of the changes."""

    @property
    def version(self) -> int:
        """The resource version of the newest change."""
        return self._version

    def find(self, kind: Kind, namespace: str | None, name: str) -> Object | None:
        """Give a stored object itself; None when it is not there. Callers change copies only."""
        return self._objects.get(kind.resource, {}).get((namespace, name))

    def all(self, resource: str, namespace: str | None = None) -> list[Object]:
        """Give the stored objects of a resource, of one namespace or of all."""
        return [
            obj
            for (where, _), obj in self._objects.get(resource, {}).items()
            if namespace is None or where == namespace
        ]

    def everything(self) -> Iterator[tuple[str, Object]]:
        """Go over all objects with their resource."""
        for resource, objects in list(self._objects.items()):
            for obj in list(objects.values()):
                yield resource, obj

    def put(self, kind: Kind, obj: Object) -> Object:
        """Store an object under a new resource version."""
        metadata = obj["metadata"]
        key = metadata.get("namespace"), metadata["name"]
        objects = self._objects.setdefault(kind.resource, {})
        happened = "MODIFIED" if key in objects else "ADDED"
        metadata["resourceVersion"] = str(self._version + 1)
        objects[key] = obj
        self._tell(happened, kind.resource, obj)
        return obj

    def remove(self, kind: Kind, obj: Object) -> None:
        """Forget an object."""
        metadata = obj["metadata"]
        removed = self._objects.get(kind.resource, {}).pop((metadata.get("namespace"), metadata["name"]), None)
        if removed is not None:
            last = copy.deepcopy(removed)
            last["metadata"]["resourceVersion"] = str(self._version + 1)
            self._tell("DELETED", kind.resource, last)

    def _tell(self, happened: str, resource: str, obj: Object) -> None:
        self._version += 1
        change = happened, resource, copy.deepcopy(obj)
        self._history.append((self._version, change))
        for watcher in self._watchers:
            watcher.put_nowait(change)
        for listener in self.after:
            listener(change)

    @contextmanager
    def watch(self, resource: str, since: int) -> Iterator[asyncio.Queue[Change]]:
        """Give a queue of changes: with `since` 0 all objects as ADDED first, else every later change, then new ones.

        Raises:
            ApiError: 410, changes after `since` are forgotten.
        """
        queue: asyncio.Queue[Change] = asyncio.Queue()
        if since == 0:
            for obj in self.all(resource):
                queue.put_nowait(("ADDED", resource, copy.deepcopy(obj)))
        else:
            if since < self._version and (not self._history or self._history[0][0] > since + 1):
                raise gone(since)
            for version, change in self._history:
                if version > since:
                    queue.put_nowait(change)
        self._watchers.append(queue)
        try:
            yield queue
        finally:
            self._watchers.remove(queue)
