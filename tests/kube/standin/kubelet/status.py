"""What a kubelet writes into a pod's status."""

from typing import Any

from tests.kube.standin.api.objects import Api, now
from tests.kube.standin.kubelet.network import own_address
from tests.kube.standin.operator.conditions import set_condition

Object = dict[str, Any]


def waiting(pod: Object, reason: str, message: str = "", container: str | None = None) -> list[Object]:
    """Make the states of containers that wait, one of them for a reason of its own."""
    states = []
    for one in pod["spec"]["containers"]:
        mine = container is None or one["name"] == container
        why = {"reason": reason if mine else "ContainerCreating"} | ({"message": message} if message and mine else {})
        states.append({**_about(one), "ready": False, "started": False, "restartCount": 0, "state": {"waiting": why}})
    return states


def running(container: Object, started_at: str, ready: bool) -> Object:
    """Make the state of a container that runs."""
    return {**_about(container), "ready": ready, "started": True, "state": {"running": {"startedAt": started_at}}}


def ended(container: Object, started_at: str, code: int) -> Object:
    """Make the state of a container that has ended."""
    reason = "Completed" if code == 0 else "Error"
    terminated = {"exitCode": code, "reason": reason, "startedAt": started_at, "finishedAt": now()}
    return {**_about(container), "ready": False, "started": False, "state": {"terminated": terminated}}


def write(api: Api, pod: Object, phase: str, states: list[Object], *, ready: bool = False) -> None:
    """Write a pod's status when it has changed."""
    known = api.find("pods", pod["metadata"]["namespace"], pod["metadata"]["name"])
    if known is None:
        return
    conditions = [dict(one) for one in known["status"].get("conditions") or ()]
    started = phase != "Pending"
    set_condition(conditions, "Initialized", started, "" if started else "ContainersNotInitialized")
    for kind in ("ContainersReady", "Ready"):
        set_condition(conditions, kind, ready, "" if ready else "ContainersNotReady")
    status = {**known["status"], "phase": phase, "conditions": conditions, "containerStatuses": states}
    status |= {"hostIP": own_address(), "startTime": known["status"].get("startTime") or now()}
    if started:
        status |= {"podIP": own_address(), "podIPs": [{"ip": own_address()}]}
    if status != known["status"]:
        api.set_status(api.kinds.named("pods"), known, status)


def _about(container: Object) -> Object:
    image = container.get("image", "")
    return {
        "name": container["name"],
        "image": image,
        "imageID": image,
        "containerID": f"standin://{container['name']}",
    }
