"""`slipway submit|jobs|job|logs|events|trials|stop`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from platform_app.cli.output import ago, coloured, complaints, console, metrics_text, print_json, print_table
from platform_app.client import Platform
from platform_app.domain.job import JobState
from platform_app.specs import CommandSpec
from platform_app.views import JobView, PlanView

app = typer.Typer()

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
JobId = Annotated[str, typer.Argument(help="The job's id, as `slipway jobs` shows it.")]


@app.command()
def submit(
    spec: Annotated[Path, typer.Argument(help="YAML file with the job, such as jobs/examples/ddp.yaml.", exists=True)],
    working_dir: Annotated[
        Path | None, typer.Option("--working-dir", help="Directory with your code; it goes along with the job.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would run, where and for how much.")] = False,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return as soon as the job is stored.")] = False,
    logs: Annotated[bool, typer.Option("--logs", help="Follow the job's output instead of its progress.")] = False,
    idempotency_key: Annotated[str | None, typer.Option(help="The same key again gives the same job.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Submit a training run or a sweep, and watch it until it ends. Ctrl-C leaves it running.

    Exit code: 0 when the job succeeded (or was stored, with --detach), 1 when it did not.
    """
    platform = Platform()
    if dry_run:
        plan = platform.plan(spec, working_dir)
        print_json(plan) if as_json else _show_plan(plan)
        return
    job = platform.submit(spec, working_dir, idempotency_key)
    if detach:
        print_json(job) if as_json else console.print(f"{job.id} is stored. Next: [bold]slipway logs -f {job.id}[/]")
        return
    if not as_json:
        console.print(f"[bold]{job.id}[/] is stored; Ctrl-C leaves it running.")
    try:
        if logs:
            for text in platform.logs(job.id, follow=True):
                console.out(text, end="", highlight=False)
        job = platform.wait(job.id) if as_json or logs else watch(platform, job.id)
    except KeyboardInterrupt:
        complaints.print(f"\n{job.id} goes on. Look at it with [bold]slipway job {job.id}[/]; stop it: slipway stop.")
        raise typer.Exit(0) from None
    print_json(job) if as_json else _show_end(platform, job)
    raise typer.Exit(0 if job.state is JobState.SUCCEEDED else 1)


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
    rows = ([job.id, job.kind, coloured(job.state), _progress_text(job), ago(job.created_at)] for job in page.items)
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
    console.print(f"submitted {ago(job.created_at)}   {_progress_text(job)}")
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


def watch(platform: Platform, job_id: str) -> JobView:
    """Show a job's progress until it ends, and give the ended job."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=28),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("QUEUED", total=None, note="")
        return platform.wait(job_id, on_change=lambda job: _redraw(bar, task, job))


def _redraw(bar: Progress, task: TaskID, job: JobView) -> None:
    done = job.progress.done if job.progress else 0
    total = job.progress.total if job.progress else None
    bar.update(
        task,
        description=coloured(job.state),
        completed=done,
        total=total,
        note=_progress_text(job) or escape(job.message),
    )


def _progress_text(job: JobView) -> str:
    if job.progress is None:
        return ""
    done = f"{job.progress.done}/{job.progress.total} {job.progress.unit}"
    return f"{done}  {metrics_text(job.progress.metrics)}"


def _show_end(platform: Platform, job: JobView) -> None:
    console.print(f"{job.id}  {coloured(job.state)}  {escape(job.message) or _progress_text(job)}")
    if job.state is JobState.FAILED:
        tail = [event.message for event in platform.events(job.id) if event.kind == "log-tail"]
        if tail:
            console.rule("end of its output")
            console.out(tail[-1], highlight=False)
        console.print(f"Next: [bold]slipway logs {job.id}[/] for all of it.")
    elif job.model_version and not isinstance(job.spec, CommandSpec):
        model = job.spec.registered_model
        console.print(f"Next: [bold]slipway promote {model} {job.model_version}[/] and [bold]slipway deploy {model}[/]")
    elif job.kind == "sweep":
        console.print(f"Next: [bold]slipway trials {job.id}[/]")


def _show_plan(plan: PlanView) -> None:
    console.print(f"would run  [bold]{plan.entrypoint.split(' --spec ')[0]}[/]  as {plan.spec.kind} {plan.spec.name}")
    rows = ([s.group, s.training_workers, f"{s.cluster_workers:g}"] for s in plan.placement)
    print_table(["WORKER GROUP", "TRAINING WORKERS", "CLUSTER WORKERS"], rows)
    console.print(f"price: ${plan.price_per_hour:.2f} per hour while it runs")
