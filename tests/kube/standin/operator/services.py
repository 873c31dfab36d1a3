"""RayServices: a cluster, Serve's applications on it, and a new cluster beside the old one when its spec changes."""

import asyncio
import copy
import hashlib
import json
import random
import string
import time
from collections.abc import Callable
from typing import Any

import yaml

from tests.kube.standin.api.errors import ApiError
from tests.kube.standin.api.objects import Api
from tests.kube.standin.events import Recorder
from tests.kube.standin.operator.conditions import set_condition
from tests.kube.standin.operator.dashboard import Dashboard, Unreachable
from tests.kube.standin.operator.pods import owner
from tests.kube.standin.operator.validation import name_problem, service_problem

LONGEST_NAME = 47

_HASH = "ray.io/hash-without-replicas-and-workers-to-delete"
_DELETION_DELAY_SECONDS = 60

Object = dict[str, Any]


class Services:
    """Reconciles RayServices."""

    def __init__(
        self,
        api: Api,
        recorder: Recorder,
        dashboard: Callable[[Object], Dashboard | None],
        localize: Callable[[Object, str], Object],
    ) -> None:
        """Take a way to a cluster's dashboard, None while its head is not up, and to its Serve config as run here."""
        self._api = api
        self._recorder = recorder
        self._dashboard = dashboard
        self._localize = localize
        self._deployed: dict[str, str] = {}
        self._delete_at: dict[str, float] = {}

    async def step(self) -> None:
        """Bring every RayService one step nearer to what it should be."""
        services = self._api.list(self._api.kinds.named("rayservices.ray.io"), None)
        await asyncio.gather(
            *(self._reconcile(one) for one in services if not one["metadata"].get("deletionTimestamp"))
        )

    async def _reconcile(self, service: Object) -> None:
        metadata = service["metadata"]
        where = f"{metadata['namespace']}/{metadata['name']}"
        if problem := name_problem("RayService", metadata["name"], LONGEST_NAME):
            message = f"The RayService metadata is invalid {where}: {problem}"
            self._recorder.warning(service, "InvalidRayServiceMetadata", message, "Validate")
            return
        if problem := service_problem(service["spec"]):
            self._recorder.warning(service, "InvalidRayServiceSpec", f"{where}: {problem}", "Validate")
            return
        status = copy.deepcopy(service.get("status") or {})
        active = status.get("activeServiceStatus") or {}
        pending = status.get("pendingServiceStatus") or {}
        try:
            self._clusters(service, active, pending)
        except ApiError as error:
            message = f"Failed to create the RayCluster {where}: {error}"
            self._recorder.warning(service, "FailedToCreateRayCluster", message, "Create")
            return
        for side in (active, pending):
            if side.get("rayClusterName"):
                side["applicationStatuses"] = await self._serve(service, side["rayClusterName"])
        if pending and _healthy(pending["applicationStatuses"]):
            self._retire(service, active)
            active, pending = pending, {}
        ready = _healthy(active.get("applicationStatuses") or {})
        conditions = [dict(one) for one in status.get("conditions") or ()]
        reason = "NonZeroServeEndpoints" if ready else "Initializing"
        set_condition(conditions, "Ready", ready, reason)
        both = bool(active and pending)
        set_condition(
            conditions, "UpgradeInProgress", both, "BothActivePendingClustersExist" if both else "NoPendingCluster"
        )
        new = {
            "activeServiceStatus": active,
            "pendingServiceStatus": pending,
            "conditions": conditions,
            "serviceStatus": "Running" if ready else "",
            "numServeEndpoints": int(ready),
            "observedGeneration": metadata.get("generation", 1),
        }
        if {**status, **new} != status:
            self._api.set_status(self._api.kinds.named("rayservices.ray.io"), service, {**status, **new})

    def _clusters(self, service: Object, active: Object, pending: Object) -> None:
        """Create the first cluster, or one beside the active one when the spec of it has changed."""
        digest = _digest(service["spec"]["rayClusterConfig"])
        known = self._find(service, active.get("rayClusterName"))
        newest = self._find(service, pending.get("rayClusterName")) or known
        upgrades = (service["spec"].get("upgradeStrategy") or {}).get("type") != "None"
        if newest is None or (newest["metadata"]["annotations"][_HASH] != digest and upgrades):
            if pending:
                self._delete_at[pending["rayClusterName"]] = time.monotonic()
            self._create(service, pending, digest)
        for name, at in list(self._delete_at.items()):
            if time.monotonic() >= at and self._find(service, name):
                self._api.delete(self._api.kinds.named("rayclusters.ray.io"), service["metadata"]["namespace"], name)
                del self._delete_at[name]

    def _create(self, service: Object, pending: Object, digest: str) -> None:
        metadata = service["metadata"]
        name = f"{metadata['name']}-{''.join(random.choices(string.ascii_lowercase + string.digits, k=5))}"
        labels = {"ray.io/originated-from-cr-name": metadata["name"], "ray.io/originated-from-crd": "RayService"}
        about = {
            "name": name,
            "labels": {**(metadata.get("labels") or {}), **labels},
            "annotations": {_HASH: digest},
            "ownerReferences": [owner(service)],
        }
        body = {"metadata": about, "spec": service["spec"]["rayClusterConfig"]}
        self._api.create(self._api.kinds.named("rayclusters.ray.io"), metadata["namespace"], body)
        message = f"Created the RayCluster {metadata['namespace']}/{name}"
        self._recorder.normal(service, "CreatedRayCluster", message, "Create")
        pending.clear()
        pending["rayClusterName"] = name

    async def _serve(self, service: Object, name: str) -> Object:
        cluster = self._find(service, name)
        dashboard = self._dashboard(cluster) if cluster else None
        if cluster is None or dashboard is None:
            return {}
        wanted = service["spec"].get("serveConfigV2") or ""
        where = f"{service['metadata']['namespace']}/{name}"
        try:
            if self._deployed.get(cluster["metadata"]["uid"]) != wanted:
                await dashboard.deploy(self._localize(cluster, wanted))
                self._deployed[cluster["metadata"]["uid"]] = wanted
                message = f"Updated serve applications to the RayCluster {where}"
                self._recorder.normal(service, "UpdatedServeApplications", message, "Update")
            seen = await dashboard.applications()
        except Unreachable as error:
            message = f"Failed to update serve applications to the RayCluster {where}: {error}"
            self._recorder.warning(service, "FailedToUpdateServeApplications", message, "Update")
            return {}
        names = [one.get("name", "default") for one in (yaml.safe_load(wanted) or {}).get("applications") or ()]
        return {one: _application(seen[one]) for one in names if one in seen} if set(names) <= set(seen) else {}

    def _retire(self, service: Object, active: Object) -> None:
        if name := active.get("rayClusterName"):
            delay = service["spec"].get("rayClusterDeletionDelaySeconds", _DELETION_DELAY_SECONDS)
            self._delete_at[name] = time.monotonic() + delay

    def _find(self, service: Object, name: str | None) -> Object | None:
        return self._api.find("rayclusters.ray.io", service["metadata"]["namespace"], name or "")


def _digest(config: Object) -> str:
    """Sum a cluster's spec up without what the autoscaler changes."""
    fixed = copy.deepcopy(config)
    for group in fixed.get("workerGroupSpecs") or ():
        for field in ("replicas", "minReplicas", "maxReplicas", "scaleStrategy"):
            group.pop(field, None)
    return hashlib.sha1(json.dumps(fixed, sort_keys=True).encode()).hexdigest()


def _application(seen: Object) -> Object:
    deployments = {
        name: {"status": one["status"], "message": one.get("message", "")}
        for name, one in seen.get("deployments", {}).items()
    }
    return {"status": seen["status"], "message": seen.get("message", ""), "serveDeploymentStatuses": deployments}


def _healthy(applications: Object) -> bool:
    return bool(applications) and all(one["status"] == "RUNNING" for one in applications.values())
