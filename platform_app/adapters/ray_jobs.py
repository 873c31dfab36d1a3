"""The port `JobRunner` over Ray's job REST API, on the cluster the platform itself runs on.

Plain HTTP instead of Ray's `JobSubmissionClient`, which has no time limits, tells errors apart by their text, and lets
`RAY_ADDRESS` in the environment override the address it is given.
"""

import os
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
import httpx

from platform_app.errors import PermanentError, TemporaryError
from platform_app.ports import RayJobObservation, RayJobRequest, RayJobStatus

_TIMEOUT_SECONDS = 30.0


def auth_headers() -> dict[str, str]:
    """Give Ray's token, which a head started in token mode hands to its processes; empty without one."""
    token = os.environ.get("RAY_AUTH_TOKEN")
    return {"Authorization": f"Bearer {token}"} if token else {}


class RayJobs:
    """Ray jobs through the dashboard."""

    def __init__(self, dashboard_url: str, headers: Mapping[str, str]) -> None:
        self._url = dashboard_url.rstrip("/")
        self._headers = dict(headers)
        self._http = httpx.Client(base_url=self._url, headers=self._headers, timeout=_TIMEOUT_SECONDS)

    def submit(self, request: RayJobRequest) -> None:
        """Start an attempt. Ray answers 500 for an id it has already, so a refusal is looked at twice."""
        body = {
            "entrypoint": request.entrypoint,
            "submission_id": request.submission_id,
            "runtime_env": dict(request.runtime_env),
            "metadata": dict(request.metadata),
            **request.driver,
        }
        answer = self._send("POST", "/api/jobs/", json=body)
        if answer.is_success or self._send("GET", f"/api/jobs/{request.submission_id}").is_success:
            return
        if answer.status_code == httpx.codes.BAD_REQUEST:
            raise PermanentError(f"Ray refused the job: {answer.text[:2000]}")
        raise TemporaryError(f"Ray did not take the job (HTTP {answer.status_code}): {answer.text[:2000]}")

    def observe(self) -> Mapping[str, RayJobObservation]:
        """Say what Ray knows of every job that was submitted to it."""
        answer = self._send("GET", "/api/jobs/")
        if not answer.is_success:
            raise TemporaryError(f"Ray did not list its jobs (HTTP {answer.status_code})")
        return {
            job["submission_id"]: RayJobObservation(RayJobStatus(job["status"]), job.get("message") or "")
            for job in answer.json()
            if job.get("submission_id")
        }

    def stop(self, submission_id: str) -> None:
        """Ask an attempt to stop. Ray answers 404 for what is gone."""
        answer = self._send("POST", f"/api/jobs/{submission_id}/stop")
        if not answer.is_success and answer.status_code != httpx.codes.NOT_FOUND:
            raise TemporaryError(f"Ray did not stop {submission_id} (HTTP {answer.status_code}): {answer.text[:500]}")
        seen = self._send("GET", f"/api/jobs/{submission_id}")
        if seen.is_success and seen.json()["status"] == RayJobStatus.PENDING:
            _give_up(submission_id)

    def release(self, submission_id: str) -> None:
        """Do nothing: the cluster is there for others, and Ray forgets its oldest jobs by itself."""

    def logs(self, submission_id: str) -> str | None:
        """Read the driver's whole output so far."""
        answer = self._send("GET", f"/api/jobs/{submission_id}/logs")
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        if not answer.is_success:
            raise TemporaryError(f"Ray did not give the log of {submission_id} (HTTP {answer.status_code})")
        return str(answer.json()["logs"] or "")

    async def tail(self, submission_id: str) -> AsyncIterator[str]:
        """Stream the driver's output from its beginning until the job ends.

        Raises:
            TemporaryError: the connection broke before the job ended.
        """
        address = f"{self._url}/api/jobs/{submission_id}/logs/tail"
        try:
            async with aiohttp.ClientSession(headers=self._headers) as session, session.ws_connect(address) as socket:
                async for frame in socket:
                    if frame.type is aiohttp.WSMsgType.TEXT:
                        yield frame.data
                if socket.close_code == aiohttp.WSCloseCode.ABNORMAL_CLOSURE:
                    raise TemporaryError(f"the log stream of {submission_id} broke off")
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise TemporaryError(f"the log stream of {submission_id} broke off: {error}") from error

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            answer = self._http.request(method, path, **options)
        except httpx.HTTPError as error:
            raise TemporaryError(f"Ray's dashboard at {self._url} does not answer: {error}") from error
        if answer.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            # A wrong token is the operator's mistake, not the job's: it waits until the token is right.
            raise TemporaryError(f"Ray's dashboard at {self._url} refuses our token: set RAY_AUTH_TOKEN")
        return answer


def _give_up(submission_id: str) -> None:
    """Stop a Ray job whose driver has no place yet: Ray only asks it to stop once it has one.

    The driver is started by an actor that waits for a worker; without it the job fails within seconds. What is killed
    here has not begun, or has this moment.
    """
    import ray
    from ray.dashboard.modules.job.common import JOB_ACTOR_NAME_TEMPLATE, SUPERVISOR_ACTOR_RAY_NAMESPACE

    name = JOB_ACTOR_NAME_TEMPLATE.format(job_id=submission_id)
    try:
        ray.kill(ray.get_actor(name, namespace=SUPERVISOR_ACTOR_RAY_NAMESPACE))
    except ValueError:
        return  # There is no such actor (any more).
    except ray.exceptions.RayError as error:
        raise TemporaryError(f"Ray did not stop {submission_id}: {error}") from error
