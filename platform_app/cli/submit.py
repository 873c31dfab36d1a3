"""`slipway submit`: the plan first, then the job, then its progress."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from platform_app.cli.jobs import JsonFlag
from platform_app.cli.output import coloured, complaints, console, print_json, print_table
from platform_app.cli.why import wait_range
from platform_app.client import Platform
from platform_app.client.progress import live, progress_text
from platform_app.domain.job import JobState
from platform_app.plans import PlanView
from platform_app.specs import CommandSpec
from platform_app.views import JobView

app = typer.Typer()


@app.command()
def submit(
    spec: Annotated[Path, typer.Argument(help="YAML file with the job, such as jobs/examples/ddp.yaml.", exists=True)],
    working_dir: Annotated[
        Path | None, typer.Option("--working-dir", help="Directory with your code; it goes along with the job.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and run nothing.")] = False,
    hours: Annotated[
        float | None, typer.Option(help="Show the price of so many hours, too. Default: of deadline_seconds.", min=0.01)
    ] = None,
    yes: Annotated[
        bool,
        typer.Option("--yes", "-y", help="Do not ask. Nor is anything asked where standard input is no terminal."),
    ] = False,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return as soon as the job is stored.")] = False,
    logs: Annotated[bool, typer.Option("--logs", help="Follow the job's output instead of its progress.")] = False,
    idempotency_key: Annotated[str | None, typer.Option(help="The same key again gives the same job.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Submit a job and watch it until it ends. Ctrl-C leaves it running.

    First the plan: where it would run, when, what it would cost, and what it would take from others; then a question,
    unless --yes or --json is given or a script calls.

    Exit code: 0 when the job succeeded (or was stored, with --detach), 1 when it did not, or when the answer was no.
    """
    platform = Platform()
    plan = platform.plan(spec, working_dir, hours)
    if dry_run:
        print_json(plan) if as_json else _show_plan(plan)
        return
    if not as_json:
        _show_plan(plan)
        if not yes and sys.stdin.isatty():
            typer.confirm("Submit it?", abort=True)
    # The plan's spec names the working directory as it was uploaded.
    job = platform.submit(plan.spec, idempotency_key=idempotency_key)
    if detach:
        print_json(job) if as_json else console.print(f"{job.id} is stored. Next: [bold]slipway logs -f {job.id}[/]")
        return
    if not as_json:
        console.print(f"[bold]{job.id}[/] is stored; Ctrl-C leaves it running.")
    try:
        job = _watched(platform, job.id, logs, quiet=as_json)
    except KeyboardInterrupt:
        complaints.print(f"\n{job.id} goes on. Look at it with [bold]slipway job {job.id}[/]; stop it: slipway stop.")
        raise typer.Exit(0) from None
    print_json(job) if as_json else _show_end(platform, job)
    raise typer.Exit(0 if job.state is JobState.SUCCEEDED else 1)


def _watched(platform: Platform, job_id: str, logs: bool, quiet: bool) -> JobView:
    """Show a job's output or progress until it ends, and give the ended job."""
    if logs:
        for text in platform.logs(job_id, follow=True):
            console.out(text, end="", highlight=False)
    if logs or quiet:
        return platform.wait(job_id, on_change=lambda _job: None)
    with live(console) as show:
        return platform.wait(job_id, on_change=show)


def _show_end(platform: Platform, job: JobView) -> None:
    console.print(f"{job.id}  {coloured(job.state)}  {escape(job.message) or progress_text(job)}")
    if job.state is JobState.FAILED:
        tail = [event.message for event in platform.events(job.id) if event.kind == "log-tail"]
        if tail:
            console.rule("end of its output")
            console.out(tail[-1], highlight=False)
        console.print(
            f"Next: [bold]slipway why {job.id}[/] for what to do, [bold]slipway logs {job.id}[/] for all of it."
        )
    elif job.model_version and not isinstance(job.spec, CommandSpec):
        model = job.spec.registered_model
        console.print(f"Next: [bold]slipway promote {model} {job.model_version}[/] and [bold]slipway deploy {model}[/]")
    elif job.kind == "sweep":
        console.print(f"Next: [bold]slipway trials {job.id}[/]")


def _show_plan(plan: PlanView) -> None:
    console.print(f"would run  [bold]{plan.entrypoint.split(' --spec ')[0]}[/]  as {plan.spec.kind} {plan.spec.name}")
    rows = ([s.group, s.training_workers, f"{s.cluster_workers:g}", f"${s.price_per_hour:.2f}"] for s in plan.placement)
    print_table(["WORKER GROUP", "TRAINING WORKERS", "CLUSTER WORKERS", "PER HOUR"], rows)
    asked = f", ${plan.price:.2f} for {plan.hours:g} hours" if plan.price is not None else ""
    console.print(f"price: ${plan.price_per_hour:.2f} per hour while it runs{asked}")
    console.print(f"start: {escape(plan.starts)}", soft_wrap=True)
    if plan.preempts:
        console.print(f"takes from: {escape(plan.preempts)}, after a checkpoint", soft_wrap=True)
    if plan.blocked:
        console.print(f"wait: {wait_range(plan.wait) if plan.wait else 'nothing is known of how long'}")
    for option in plan.options:
        console.print(f"  at once with {escape(option.change)}: ${option.price_per_hour:.2f} per hour", soft_wrap=True)
