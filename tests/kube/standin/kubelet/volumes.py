"""Volumes are folders of this machine: what a container would see at a mount path is at another path here."""

import base64
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.kube.standin.api.objects import Api
from tests.kube.standin.kubelet.environment import ConfigError

Object = dict[str, Any]


class Volumes:
    """Makes volumes as pods need them.

    A claim is one folder for all namespaces, as claims of one name are one share of the team's storage.
    """

    def __init__(self, api: Api, folder: Callable[[str, str], Path], shared: Path) -> None:
        """`folder` gives a pod's own folder by its namespace and name; claims are below `shared`."""
        self._api = api
        self._folder = folder
        self._shared = shared

    def claim(self, name: str) -> Path:
        """Give the folder of the claims of a name."""
        path = self._shared / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def mounts(self, pod: Object, container: Object) -> dict[str, str]:
        """Give the folder here for each path at which a container mounts something.

        Raises:
            ConfigError: it mounts a ConfigMap or a Secret that is not there.
        """
        volumes = {one["name"]: one for one in pod["spec"].get("volumes") or ()}
        found = {}
        for mount in container.get("volumeMounts") or ():
            path = self._path(pod, volumes.get(mount["name"], {}))
            if path is not None:
                found[mount["mountPath"].rstrip("/")] = str(path / mount.get("subPath", ""))
        return found

    def _path(self, pod: Object, volume: Object) -> Path | None:
        metadata = pod["metadata"]
        own = self._folder(metadata["namespace"], metadata["name"]) / "volumes" / volume.get("name", "")
        if claim := volume.get("persistentVolumeClaim"):
            return self.claim(claim["claimName"])
        if source := volume.get("configMap"):
            return self._files("configmaps", source["name"], source, pod, own)
        if source := volume.get("secret"):
            return self._files("secrets", source["secretName"], source, pod, own)
        if "emptyDir" in volume and (volume["emptyDir"] or {}).get("medium") != "Memory":
            own.mkdir(parents=True, exist_ok=True)
            return own
        return None  # memory is /dev/shm here too

    def _files(self, resource: str, name: str, source: Object, pod: Object, folder: Path) -> Path:
        found = self._api.find(resource, pod["metadata"]["namespace"], name)
        if found is None:
            if source.get("optional"):
                return folder
            raise ConfigError(f'{resource.removesuffix("s")} "{name}" not found')
        folder.mkdir(parents=True, exist_ok=True)
        data = found.get("data") or {}
        for item in source.get("items") or [{"key": key, "path": key} for key in data]:
            text = data[item["key"]]
            content = base64.b64decode(text) if resource == "secrets" else text.encode()
            (folder / item["path"]).write_bytes(content)
        return folder


def relocate(text: str, mounts: Mapping[str, str]) -> str:
    """Replace mount paths by what is here, the longest first."""
    for path in sorted(mounts, key=len, reverse=True):
        text = re.sub(rf"(?<![\w.-]){re.escape(path)}(?![\w-])", lambda _, path=path: mounts[path], text)
    return text
