"""Use cases that depend on who asks."""

from copy import copy
from typing import Self

from platform_app.domain.job import Job
from platform_app.domain.team import NOBODY, Principal
from platform_app.errors import NotFound
from platform_app.ports import JobStore


class Asked:
    """Use cases of jobs as one caller has them: another team's job is not there. At first nobody asks."""

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self._caller: Principal = NOBODY

    def of(self, caller: Principal) -> Self:
        """Give the same use cases as another caller has them."""
        theirs = copy(self)
        theirs._caller = caller
        return theirs

    def _stored(self, job_id: str) -> Job:
        """Read a job that the caller asks for. Raises NotFound."""
        job = self._store.get(job_id)
        if job is None or not self._caller.sees(job.team):
            raise NotFound(f"there is no job {job_id!r}: see GET /v1/jobs")
        return job
