"""The life of pods on nodes: images are pulled, containers start, are watched, and end within their grace period."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from tests.kube.standin.api.errors import ApiError
from tests.kube.standin.api.objects import Api, now
from tests.kube.standin.events import Recorder
from tests.kube.standin.kubelet.containers import Container, Runtime
from tests.kube.standin.kubelet.environment import ConfigError
from tests.kube.standin.kubelet.ray_pod import RayPods, is_head, is_ray
from tests.kube.standin.kubelet.status import ended, running, waiting, write
from tests.kube.standin.operator.submitter import NO_PROCESS

_LOOK_SECONDS = 0.25
_BACK_OFF_SECONDS = 2.0

Object = dict[str, Any]


class Kubelet:
    """All nodes' kubelets in one."""

    def __init__(self, api: Api, runtime: Runtime, ray_pods: RayPods, failed: Callable[[BaseException], None]) -> None:
        """Tell `failed` the errors of the stand-in itself."""
        self._api = api
        self._failed = failed
        self._runtime = runtime
        self._ray_pods = ray_pods
        self._recorder = Recorder(api, "kubelet", legacy=True)
        self._lives: dict[str, asyncio.Task[None]] = {}
        self._cut_at: dict[str, float] = {}
        self.missing_images: set[str] = set()
        """Parts of image names that no registry has."""

    def step(self) -> None:
        """Take up pods that were given a node."""
        for pod in self._api.list(self._api.kinds.named("pods"), None):
            uid = pod["metadata"]["uid"]
            if pod["spec"].get("nodeName") and uid not in self._lives:
                self._lives[uid] = asyncio.create_task(self._live(pod))
                self._lives[uid].add_done_callback(self._over)

    def _over(self, life: asyncio.Task[None]) -> None:
        if not life.cancelled() and (error := life.exception()):
            self._failed(error)

    def cut(self, pod: Object, seconds: float) -> None:
        """Let a pod end, however it stands, after some seconds: its node goes."""
        self._cut_at[pod["metadata"]["uid"]] = time.monotonic() + seconds

    async def stop(self) -> None:
        """Kill everything."""
        for life in self._lives.values():
            life.cancel()
        await asyncio.gather(*self._lives.values(), return_exceptions=True)

    async def _live(self, pod: Object) -> None:
        uid = pod["metadata"]["uid"]
        containers: list[Container] = []
        try:
            if await self._pulled(pod) and await self._initialized(pod):
                if is_ray(pod) and NO_PROCESS not in (pod["metadata"].get("annotations") or {}):
                    await self._attend(pod, containers)
                else:
                    await self._pretend(pod)
            await self._end(pod, containers)
        finally:
            await asyncio.shield(asyncio.to_thread(self._runtime.kill, uid))
            self._remove(pod)

    async def _pulled(self, pod: Object) -> bool:
        """Wait until the images are there; False when the pod is to go first."""
        told = False
        while current := self._staying(pod):
            missing = [one for one in current["spec"]["containers"] if self._is_missing(one.get("image", ""))]
            if not missing:
                return True
            image, name = missing[0]["image"], missing[0]["name"]
            not_found = (
                f'Failed to pull image "{image}": rpc error: code = NotFound desc = failed to pull and unpack image'
                f' "{image}": failed to resolve reference "{image}": {image}: not found'
            )
            if not told:
                self._recorder.normal(pod, "Pulling", f'Pulling image "{image}"')
                self._recorder.warning(pod, "Failed", not_found)
                self._recorder.warning(pod, "Failed", "Error: ErrImagePull")
                write(self._api, current, "Pending", waiting(current, "ErrImagePull", not_found, name))
            else:
                message = f'Back-off pulling image "{image}"'
                self._recorder.normal(pod, "BackOff", message)
                self._recorder.warning(pod, "Failed", "Error: ImagePullBackOff")
                write(self._api, current, "Pending", waiting(current, "ImagePullBackOff", message, name))
            told = True
            await self._pause(pod, _BACK_OFF_SECONDS)
        return False

    async def _initialized(self, pod: Object) -> bool:
        """Wait for what KubeRay's init container waits for: workers need a head."""
        if not is_ray(pod) or is_head(pod):
            return self._staying(pod) is not None
        while current := self._staying(pod):
            if await asyncio.to_thread(self._ray_pods.gcs_answers, pod):
                return True
            write(self._api, current, "Pending", waiting(current, "PodInitializing"))
            await asyncio.sleep(_LOOK_SECONDS)
        return False

    async def _attend(self, pod: Object, containers: list[Container]) -> None:
        """Start a pod's containers and watch them until the pod is to go."""
        restarts: dict[str, int] = {}
        while current := self._staying(pod):
            for wanted in current["spec"]["containers"]:
                known = next((one for one in containers if one.name == wanted["name"]), None)
                if known is None:
                    self._start(current, wanted, containers)
                elif known.exit_code is not None and _comes_again(current, known.exit_code):
                    restarts[known.name] = restarts.get(known.name, 0) + 1
                    containers.remove(known)
                    await self._pause(pod, min(2.0 ** restarts[known.name], 10.0))
            self._report(current, containers, restarts, await asyncio.to_thread(self._ray_pods.is_ready, current))
            await asyncio.sleep(_LOOK_SECONDS)

    def _start(self, pod: Object, container: Object, containers: list[Container]) -> None:
        metadata = pod["metadata"]
        folder = self._runtime.folder(metadata["namespace"], metadata["name"])
        try:
            env = self._ray_pods.environment(pod, container)
        except ConfigError as error:
            self._recorder.warning(pod, "Failed", f"Error: {error}")
            write(self._api, pod, "Pending", waiting(pod, "CreateContainerConfigError", str(error), container["name"]))
            return
        command = self._ray_pods.command(pod, container, env)
        containers.append(self._runtime.start(metadata["uid"], folder, container["name"], command, env, now()))
        self._recorder.normal(pod, "Started", f"Started container {container['name']}")

    def _report(self, pod: Object, containers: list[Container], restarts: dict[str, int], ready: bool) -> None:
        by_name = {one.name: one for one in containers}
        if set(by_name) != {one["name"] for one in pod["spec"]["containers"]}:
            return
        states = []
        for wanted in pod["spec"]["containers"]:
            one = by_name[wanted["name"]]
            code = one.exit_code
            state = running(wanted, one.started_at, ready) if code is None else ended(wanted, one.started_at, code)
            states.append({**state, "restartCount": restarts.get(one.name, 0)})
        codes = [one.exit_code for one in containers]
        phase = "Running"
        if all(code is not None for code in codes) and not any(_comes_again(pod, code or 0) for code in codes):
            phase = "Failed" if any(codes) else "Succeeded"
        known = {one["name"]: one for one in pod["status"].get("containerStatuses") or ()}
        for state in states:
            # Kubernetes keeps the time of the end that it saw first.
            before = known.get(state["name"], {}).get("state", {})
            if "terminated" in state["state"] and "terminated" in before:
                state["state"] = before
        write(self._api, pod, phase, states, ready=ready and phase == "Running")

    async def _pretend(self, pod: Object) -> None:
        """Let a pod that is not Ray's run without a process."""
        started = now()
        while current := self._staying(pod):
            if current["status"].get("phase") == "Pending":
                states = [running(one, started, ready=True) for one in current["spec"]["containers"]]
                write(self._api, current, "Running", states, ready=True)
            await asyncio.sleep(_LOOK_SECONDS)

    async def _end(self, pod: Object, containers: list[Container]) -> None:
        """Ask the containers to end, and wait as long as their grace period, or their node, lasts."""
        uid, current = pod["metadata"]["uid"], self._current(pod)
        if current is None:
            return
        grace = current["metadata"].get("deletionGracePeriodSeconds", 0)
        deadline = time.monotonic() + grace
        for container in containers:
            container.terminate()
        while any(one.exit_code is None for one in containers) and self._current(pod):
            if time.monotonic() >= min(deadline, self._cut_at.get(uid, deadline)):
                break
            await asyncio.sleep(_LOOK_SECONDS / 2)

    def _remove(self, pod: Object) -> None:
        metadata = pod["metadata"]
        if self._current(pod):
            try:
                self._api.delete(
                    self._api.kinds.named("pods"), metadata["namespace"], metadata["name"], grace_seconds=0
                )
            except ApiError:
                return

    async def _pause(self, pod: Object, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until and self._staying(pod):
            await asyncio.sleep(_LOOK_SECONDS)

    def _staying(self, pod: Object) -> Object | None:
        """Give the pod as it is now; None when it is gone, or to go."""
        current = self._current(pod)
        if current is None or current["metadata"].get("deletionTimestamp"):
            return None
        cut_at = self._cut_at.get(pod["metadata"]["uid"])
        return None if cut_at is not None and time.monotonic() >= cut_at else current

    def _current(self, pod: Object) -> Object | None:
        found = self._api.find("pods", pod["metadata"]["namespace"], pod["metadata"]["name"])
        return found if found and found["metadata"]["uid"] == pod["metadata"]["uid"] else None

    def _is_missing(self, image: str) -> bool:
        return any(part in image for part in self.missing_images)


def _comes_again(pod: Object, code: int) -> bool:
    policy = pod["spec"].get("restartPolicy", "Always")
    return policy == "Always" or (policy == "OnFailure" and code != 0)
