"""`slipway jobs|job|logs|events|trials|stop`."""

from typing import Annotated

import typer
from rich.markup import escape

from platform_app.cli.output import ago, coloured, console, metrics_text, print_json, print_table
from platform_app.client import Platform
from platform_app.client.progress import progress_text
from platform_app.domain.job import JobState
from platform_app.specs import CommandSpec

app = typer.Typer()

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
JobId = Annotated[str, typer.Argument(help="The job's id, as `slipway jobs` shows it.")]


@app.command("jobs")
def list_jobs(
    state: Annotated[list[JobState] | None, typer.Option(help="Only jobs in this state; may be repeated.")] = None,
    kind: Annotated[str | None, typer.Option(help="train, sweep or command.")] = None,
    name: Annotated[str | None, typer.Option(help="Only jobs of this name.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200)] = 20,
    as_json: JsonFlag = False,
) -> None:
    """List jobs, newest first."""
    page = Platform().jobs(tuple(state or ()), kind, name, limit)
    if as_json:
        print_json(page)
        return
    rows = ([job.id, job.kind, coloured(job.state), progress_text(job), ago(job.created_at)] for job in page.items)
    print_table(["ID", "KIND", "STATE", "PROGRESS", "SUBMITTED"], rows)
    if not page.items:
        console.print("No jobs. Next: [bold]slipway submit jobs/examples/ddp.yaml[/]")


@app.command("job")
def show_job(job_id: JobId, as_json: JsonFlag = False) -> None:
    """Show one job: its state and why, its attempts, and where its results are."""
    job = Platform().job(job_id)
    if as_json:
        print_json(job)
        return
    console.print(f"[bold]{job.id}[/]  {coloured(job.state)}  {escape(job.message)}")
    console.print(f"submitted {ago(job.created_at)}   {progress_text(job)}")
    for attempt in job.attempts:
        console.print(f"  attempt {attempt.number}: {attempt.reason or 'under way'}  {escape(attempt.message)}")
    for one in job.interruptions:
        console.print(f"  {one.at:%H:%M:%S} {one}", soft_wrap=True)
    if job.goodput is not None and job.interruptions:
        steps = sum(one.steps_lost for one in job.interruptions)
        gpu_seconds = sum(one.gpu_seconds_lost for one in job.interruptions)
        lost = f"{steps} steps and {gpu_seconds:.1f} GPU-seconds lost"
        what = "useful time over wall time since the first step"
        console.print(f"goodput {job.goodput:.1%}: {lost} in all, {what}", soft_wrap=True)
    for warning in job.warnings:
        console.print(f"  [yellow]warning[/]: {escape(warning)}")
    if job.mlflow_run_id:
        console.print(f"MLflow run {job.mlflow_run_id}")
    if job.model_version and not isinstance(job.spec, CommandSpec):
        console.print(f"made version {job.model_version} of model {job.spec.registered_model}")


@app.command()
def logs(
    job_id: JobId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job ends.")] = False,
    attempt: Annotated[int | None, typer.Option(help="Which attempt; the newest when absent.", min=1)] = None,
) -> None:
    """Print a job's output."""
    for text in Platform().logs(job_id, follow, attempt):
        console.out(text, end="", highlight=False)


@app.command()
def events(job_id: JobId, as_json: JsonFlag = False) -> None:
    """Print what happened to a job, oldest first."""
    found = Platform().events(job_id)
    if as_json:
        print_json(found)
        return
    print_table(["AT", "WHAT", ""], ([f"{e.at:%H:%M:%S}", e.kind, escape(e.message)] for e in found))


@app.command()
def trials(job_id: JobId, as_json: JsonFlag = False) -> None:
    """List a sweep's trials with their parameters and metrics."""
    found = Platform().trials(job_id)
    if as_json:
        print_json(found)
        return
    rows = (
        [t.name, t.status, " ".join(f"{k}={v}" for k, v in t.params.items()), metrics_text(t.metrics)] for t in found
    )
    print_table(["TRIAL", "STATUS", "PARAMS", "METRICS"], rows)


@app.command()
def stop(job_id: JobId, as_json: JsonFlag = False) -> None:
    """Stop a job. Stopping it again, or after it has ended, changes nothing."""
    job = Platform().stop(job_id)
    print_json(job) if as_json else console.print(f"{job.id}  {coloured(job.state)}  {escape(job.message)}")
