"""Who holds what and who stands in line where a job runs, or would: read from the ledger and the jobs' own reports."""

from collections.abc import Sequence
from datetime import datetime

from platform_app.domain.job import Job, JobState
from platform_app.domain.order import standings
from platform_app.domain.serving import served
from platform_app.domain.symptoms import remaining_seconds
from platform_app.domain.team import Principal
from platform_app.domain.turn import Room
from platform_app.errors import TemporaryError
from platform_app.ports import DeploymentStore, JobStore, Storage, TeamStore
from platform_app.specs import AttemptReport, Catalog


def newest_report(storage: Storage, job: Job) -> AttemptReport | None:
    """Read the report of a job's newest attempt; None also while storage is away."""
    try:
        return storage.report(job.id, len(job.attempts))
    except TemporaryError:
        return None


def room_of(
    store: JobStore,
    deployments: DeploymentStore,
    teams: TeamStore,
    storage: Storage,
    catalog: Catalog,
    caller: Principal,
    now: datetime,
) -> Room:
    """Give what stands between jobs and their start.

    Args:
        store: the ledger.
        deployments: what is served.
        teams: the quotas.
        storage: the jobs' own reports.
        catalog: what there is.
        caller: who asks; what others run is not named to them.
        now: the time.
    """
    live = store.live()
    held = [one for one in live if one.state.holds_capacity]
    sizes = {one.id: report.num_workers or 0 for one in held if (report := newest_report(storage, one))}
    queue = [one for one in live if one.state is JobState.QUEUED]
    standing, serving = standings(teams.teams(), now), served(deployments.list(), catalog)
    return Room(queue, held, catalog, sizes, standing, now, serving, caller.sees)


def remaining(held: Sequence[Job], storage: Storage, now: datetime) -> dict[str, float]:
    """Give the seconds that running jobs still take at their pace, by job id, as far as that is known."""
    left = {job.id: remaining_seconds(job, newest_report(storage, job), now) for job in held}
    return {job_id: seconds for job_id, seconds in left.items() if seconds is not None}
