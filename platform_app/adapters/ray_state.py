"""The port `HeldGpus` over Ray's state API: what jobs' actors, tasks and placement groups hold.

An actor or task within a placement group holds part of it, and Ray names its resources after the group; so each GPU is
counted once. A task is counted by its worker: Ray may still list the one before it there as running.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import httpx

from platform_app.errors import TemporaryError

_TIMEOUT_SECONDS = 3.0
"""All questions together stay within the reconciler's lease."""
_MOST_ROWS = 10_000
"""The most that Ray gives at once."""
_SUBMISSION_ID = "job_submission_id"
"""Ray's key, in the metadata of a driver, for the job that started it."""


class RayState:
    """The state of the Ray cluster that this process is connected to."""

    def __init__(self, dashboard_url: str, headers: Mapping[str, str]) -> None:
        url = dashboard_url.rstrip("/")
        self._http = httpx.Client(base_url=url, headers=dict(headers), timeout=_TIMEOUT_SECONDS)

    def of(self, submission_ids: Collection[str]) -> Mapping[str, float]:
        """Count the GPUs that each job holds beyond its driver."""
        drivers = {driver: name for driver, name in self._drivers().items() if name in submission_ids}
        held: dict[str, float] = defaultdict(float)
        for driver, gpus in self._holders() if drivers else ():
            if driver in drivers:
                held[drivers[driver]] += gpus
        return {name: gpus for name, gpus in held.items() if gpus}

    def _holders(self) -> Iterator[tuple[str, float]]:
        """Give each holder of GPUs: Ray's id of the driver that it belongs to, and how many."""
        for group in self._rows("placement_groups", state="CREATED"):
            bundles = group.get("bundles") or ()
            yield group["creator_job_id"], sum(_gpus(bundle["unit_resources"]) for bundle in bundles)
        for actor in self._rows("actors", state="ALIVE"):
            yield actor["job_id"], _gpus(actor.get("required_resources"))
        by_worker = {task["worker_id"]: task for task in self._rows("tasks", state="RUNNING")}
        for task in by_worker.values():
            if task["type"] == "NORMAL_TASK":
                yield task["job_id"], _gpus(task.get("required_resources"))

    def _rows(self, what: str, state: str) -> list[dict[str, Any]]:
        wanted = {"filter_keys": "state", "filter_predicates": "=", "filter_values": state}
        options = {"detail": "1", "limit": str(_MOST_ROWS), **wanted}
        try:
            answer = self._http.get(f"/api/v0/{what}", params=options).raise_for_status()
        except httpx.HTTPError as error:
            raise TemporaryError(f"Ray does not list its {what}: {error}") from error
        rows: list[dict[str, Any]] = answer.json()["data"]["result"]["result"]
        return rows

    def _drivers(self) -> dict[str, str]:
        """Give the submission id of each driver that a job started, by Ray's id of the driver."""
        import ray
        from ray._raylet import GcsClient  # type: ignore[attr-defined]  # Ray's stub of it lacks most

        try:
            gcs = GcsClient(address=ray.get_runtime_context().gcs_address)
            found = gcs.get_all_job_info(skip_submission_job_info_field=True, skip_is_running_tasks_field=True)
        except Exception as error:  # Ray raises RpcError, RuntimeError and others when the GCS is away.
            raise TemporaryError(f"Ray does not list its drivers: {error}") from error
        marks = {info.job_id.hex(): dict(info.config.metadata) for info in found.values() if not info.is_dead}
        return {driver: mark[_SUBMISSION_ID] for driver, mark in marks.items() if _SUBMISSION_ID in mark}


def _gpus(resources: Mapping[str, float] | None) -> float:
    return float((resources or {}).get("GPU", 0.0))
