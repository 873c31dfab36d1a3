"""`/v1/jobs`."""

import asyncio
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Body, Header, Path, Query, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.openapi.models import Example
from fastapi.responses import StreamingResponse

from platform_app.api.problems import documented
from platform_app.api.services import Noted, Use
from platform_app.domain.job import JobState
from platform_app.plans import ExplanationView, PlanView
from platform_app.ports import JobFilter
from platform_app.specs import JobSpec
from platform_app.views import EventView, JobView, Page, TrialView

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

JobId = Annotated[str, Path(description="The job's id, such as `ddp-x7k2p9`.", examples=["ddp-x7k2p9"])]

_NOT_FOUND = documented(HTTPStatus.NOT_FOUND)
_POLL_SECONDS = 0.5
_LOG_TYPE = "text/plain; charset=utf-8"

_EXAMPLES: dict[str, Example] = {
    "train": {
        "summary": "Distributed training on two workers",
        "value": {
            "kind": "train",
            "name": "ddp",
            "workload": "jobs.workloads.digits:make",
            "epochs": 20,
            "objective": {"metric": "accuracy", "mode": "max"},
            "resources": {"num_workers": 2, "gpus_per_worker": 1},
            "registered_model": "digits",
        },
    },
    "sweep": {
        "summary": "Eight trials, the worse ones stopped early",
        "value": {
            "kind": "sweep",
            "name": "sweep",
            "workload": "jobs.workloads.digits:make",
            "epochs": 10,
            "objective": {"metric": "accuracy", "mode": "max"},
            "space": {"lr": {"type": "loguniform", "low": 0.0001, "high": 0.1}},
            "search": {"algorithm": "optuna", "num_samples": 8},
            "registered_model": "digits",
        },
    },
    "command": {
        "summary": "Any command, which asks Ray for two GPUs",
        "value": {
            "kind": "command",
            "name": "script",
            "entrypoint": "python train.py",
            "workers": {"num_workers": 2, "gpus_per_worker": 1},
        },
    },
}


@router.post(
    "",
    status_code=HTTPStatus.ACCEPTED,
    summary="Submit a job",
    responses={
        200: {"model": PlanView, "description": "What would be run (`dry_run=true`)"},
        **documented(HTTPStatus.CONFLICT),
    },
)
def submit_job(
    spec: Annotated[JobSpec, Body(openapi_examples=_EXAMPLES)],
    services: Use,
    response: Response,
    note: Noted,
    idempotency_key: Annotated[
        str | None,
        Header(min_length=1, max_length=255, description="Sending the same key and job again gives the first job."),
    ] = None,
    dry_run: Annotated[
        bool, Query(description="Say what would be run, where, when and for how much; run nothing.")
    ] = False,
    hours: Annotated[
        float | None, Query(gt=0, le=10_000, description="With `dry_run`: also the price of so long.")
    ] = None,
) -> JobView | PlanView:
    """Store a job and answer at once; it starts when there is room for it."""
    if dry_run:
        note.is_change = False
        response.status_code = HTTPStatus.OK
        return services.jobs.plan(spec, hours)
    job = services.jobs.submit(spec, idempotency_key)
    note.detail = job.id
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return job


@router.get("", summary="List jobs")
def list_jobs(
    services: Use,
    state: Annotated[list[JobState], Query(description="Only jobs in one of these states.")] = [],  # noqa: B006  # FastAPI copies it
    kind: Annotated[str | None, Query(description="Only `train`, `sweep` or `command`.")] = None,
    name: Annotated[str | None, Query(description="Only jobs with this name.")] = None,
    team: Annotated[str | None, Query(description="Only this team's jobs; an admin sees all.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(description="`next_cursor` of the page before.")] = None,
) -> Page[JobView]:
    """Give a page of the team's jobs, newest first; an admin sees those of all teams."""
    return services.jobs.list(JobFilter(frozenset(state), kind, name, team), limit, cursor)


@router.get("/{job_id}", summary="Show a job", responses=_NOT_FOUND)
async def get_job(
    job_id: JobId,
    services: Use,
    wait: Annotated[float, Query(ge=0, le=60, description="Seconds to wait for the job's end before answering.")] = 0,
) -> JobView:
    """Show a job as it is, or as it is when it ends within the time given."""
    # A thread is held only while the database is read, so many can wait at once.
    job = await run_in_threadpool(services.jobs.get, job_id)
    waited = 0.0
    while not job.state.is_terminal and waited < wait:
        pause = min(_POLL_SECONDS, wait - waited)
        await asyncio.sleep(pause)
        waited += pause
        job = await run_in_threadpool(services.jobs.get, job_id)
    return job


@router.get(
    "/{job_id}/logs",
    summary="Read or follow a job's output",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "The output as it was written",
            "content": {"text/plain": {"schema": {"type": "string"}}},
            "headers": {
                "Slipway-Attempt": {"description": "Whose output it is", "schema": {"type": "integer"}},
            },
        },
        **_NOT_FOUND,
    },
)
async def get_job_logs(
    job_id: JobId,
    services: Use,
    follow: Annotated[bool, Query(description="Go on until the attempt ends.")] = False,
    attempt: Annotated[int | None, Query(ge=1, description="Which attempt; the newest when absent.")] = None,
    offset: Annotated[int, Query(ge=0, description="Bytes to leave out, seen before.")] = 0,
) -> Response:
    """Give one attempt's output as UTF-8. Cut off? Ask again with `attempt` as told and `offset` as counted."""
    number = await run_in_threadpool(services.logs.attempt, job_id, attempt)
    headers = {"Slipway-Attempt": str(number), "Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    if follow:
        stream = services.logs.follow(job_id, number, offset)
        return StreamingResponse(stream, headers=headers, media_type=_LOG_TYPE)
    text = await run_in_threadpool(services.logs.read, job_id, number, offset)
    return Response(text, headers=headers, media_type=_LOG_TYPE)


@router.get("/{job_id}/explain", summary="Explain a job", responses=_NOT_FOUND)
def explain_job(job_id: JobId, services: Use) -> ExplanationView:
    """Say why a job waits, what it does or why it ended, what would change that and what it costs."""
    return services.explain.explain(job_id)


@router.get("/{job_id}/events", summary="Show what happened to a job", responses=_NOT_FOUND)
def list_job_events(job_id: JobId, services: Use) -> list[EventView]:
    """Give a job's events, oldest first."""
    return list(services.jobs.events(job_id))


@router.get("/{job_id}/trials", summary="Show a sweep's trials", responses=_NOT_FOUND)
def list_job_trials(job_id: JobId, services: Use) -> list[TrialView]:
    """Give a sweep's trials, oldest first; a training run has none."""
    return list(services.jobs.trials(job_id))


@router.post("/{job_id}/stop", status_code=HTTPStatus.ACCEPTED, summary="Stop a job", responses=_NOT_FOUND)
def stop_job(job_id: JobId, services: Use) -> JobView:
    """Ask a job to stop; a second time, or after its end, changes nothing."""
    return services.jobs.stop(job_id)
