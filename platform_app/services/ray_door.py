"""Ray's door: the same jobs as everywhere, asked for and told of as Ray's own clients do.

A job is known here by its `door_id`: the `submission_id` that someone gave it, or else its own id.
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import replace
from typing import Any

from platform_app.domain.job import Event, Job, Reason
from platform_app.domain.ray_details import details, with_last_lines
from platform_app.domain.ray_submission import as_sent, command, submission
from platform_app.errors import Conflict, InvalidRequest, NotFound
from platform_app.launch import entrypoint
from platform_app.ports import Clock, JobFilter, JobStore
from platform_app.services.asked import Asked
from platform_app.services.guarded import again_when_stale
from platform_app.services.jobs import Jobs
from platform_app.services.logs import Logs
from platform_app.services.packages import Packages

_LISTED = 1000
"""Jobs that a list shows, the newest: Ray's list has no pages."""


class RayDoor(Asked):
    """The use cases of Ray's job API."""

    def __init__(self, store: JobStore, jobs: Jobs, logs: Logs, packages: Packages, clock: Clock) -> None:
        super().__init__(store)
        self._jobs = jobs
        self._logs = logs
        self._packages = packages
        self._clock = clock

    def submit(self, body: Any) -> Job:
        """Store the job that a body describes.

        Raises:
            InvalidRequest: it can never be run; names the fields as they were sent.
            Conflict: the team has a job with this submission id.
        """
        request = submission(body)
        spec = command(request, self._caller.team, lambda name: self._named(name))
        wanted = request.submission_id or request.job_id
        try:
            view = self._jobs.of(self._caller).submit(spec, door_id=wanted)
        except InvalidRequest as error:
            raise InvalidRequest(*as_sent(error.problems)) from error
        except Conflict as error:
            message = f"Job with submission_id {wanted} already exists. Please use a different submission_id."
            raise Conflict(message) from error
        return self._stored(view.id)

    def show(self, door_id: str) -> dict[str, Any]:
        """Give a job in Ray's form; one that failed with the end of its output. Raises NotFound."""
        job = self._known(door_id)
        shown = details(job, entrypoint(job.spec))
        if job.reason is Reason.USER_CODE_FAILED and shown["driver_exit_code"] is not None:
            shown["message"] = with_last_lines(shown["message"], self._logs.of(self._caller).read_all(job.id))
        return shown

    def list(self) -> Sequence[dict[str, Any]]:
        """Give the newest jobs that the caller sees, in Ray's form, newest first."""
        team = None if self._caller.is_admin else self._caller.team
        jobs, _ = self._store.list(JobFilter(team=team), _LISTED)
        return [details(job, entrypoint(job.spec)) for job in jobs if job.door_id]

    def stop(self, door_id: str) -> bool:
        """Ask a job to stop, and say whether there was anything to stop. Raises NotFound."""
        job = self._known(door_id)
        self._jobs.of(self._caller).stop(job.id)
        return not job.state.is_terminal

    @again_when_stale
    def delete(self, door_id: str) -> None:
        """Let a job be known here no more; the ledger keeps it.

        Raises:
            NotFound: there is no such job.
            Conflict: it has not ended.
        """
        job = self._known(door_id)
        if not job.state.is_terminal:
            status = details(job, "")["status"]
            raise Conflict(f"Attempted to delete job '{door_id}', but it is in a non-terminal state {status}.")
        gone = Event(self._clock.now(), "deleted", f"deleted at Ray's door by {self._caller}, where it was {door_id}")
        self._store.save(replace(job, door_id=None), [gone])

    def output(self, door_id: str) -> str:
        """Read the output of all attempts so far. Raises NotFound."""
        return self._logs.of(self._caller).read_all(self._known(door_id).id)

    def job_id(self, door_id: str) -> str:
        """Give the id by which the platform knows a job. Raises NotFound."""
        return self._known(door_id).id

    def follow(self, job_id: str) -> AsyncIterator[str]:
        """Stream the output of all attempts, those that are yet to come too, until the job ends."""
        return self._logs.of(self._caller).follow_all(job_id)

    def put_package(self, protocol: str, name: str, chunks: Iterable[bytes]) -> None:
        """Store a zip as it arrives, under the name that the team's client gave it. Raises InvalidRequest."""
        self._packages.put(self._caller.team, protocol, name, chunks)

    def has_package(self, protocol: str, name: str) -> bool:
        """Say whether the team has a package of this name."""
        return self._packages.named(self._caller.team, protocol, name) is not None

    def _named(self, name: str) -> str | None:
        return self._packages.named(self._caller.team, "gcs", name)

    def _known(self, door_id: str) -> Job:
        """Read a job by its id at this door: of the caller's own team first, an admin's then of any."""
        job = self._store.at_door(door_id, self._caller.team)
        if job is None and self._caller.is_admin:
            job = self._store.at_door(door_id)
        if job is None:
            raise NotFound(f"Job {door_id} does not exist")
        return job
