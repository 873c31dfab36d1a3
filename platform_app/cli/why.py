"""`slipway why`: why a job waits, what it does, or why it ended."""

import typer
from rich.markup import escape

from platform_app.cli.jobs import JobId, JsonFlag
from platform_app.cli.output import ago, coloured, console, print_json, print_table, span
from platform_app.client import Platform
from platform_app.plans import ExplanationView, WaitView

app = typer.Typer()


@app.command()
def why(job_id: JobId, as_json: JsonFlag = False) -> None:
    """Say why a job waits, what it does, or why it ended: one reason, what would change it, what says so.

    The wait is a range where something is known of it; nothing is promised where nothing is.
    """
    found = Platform().explain(job_id)
    print_json(found) if as_json else _show(found)


def _show(found: ExplanationView) -> None:
    console.print(f"[bold]{found.job_id}[/]  {coloured(found.state)}  {escape(found.why)}", soft_wrap=True)
    if found.unblock:
        console.print(f"what helps: {escape(found.unblock)}", soft_wrap=True)
    for option in found.options:
        console.print(f"  {escape(option.change)}: ${option.price_per_hour:.2f} per hour", soft_wrap=True)
    if not found.state.is_terminal:
        console.print(f"wait: {_wait_text(found)}")
    for other in found.others:
        console.print(f"also: {escape(other.why)}", soft_wrap=True)
    rows = ([sign.source, sign.about, sign.reason, escape(sign.message), ago(sign.at)] for sign in found.evidence)
    if found.evidence:
        print_table(["WHO SAYS IT", "OF", "WHAT", "", "WHEN"], rows)
    if not found.state.is_terminal:
        console.print(f"Next: [bold]slipway logs -f {found.job_id}[/], or [bold]slipway stop {found.job_id}[/]")


def _wait_text(found: ExplanationView) -> str:
    if found.wait is None:
        return "nothing is known of how long" if found.blocked else "nothing is in its way"
    return wait_range(found.wait)


def wait_range(wait: WaitView) -> str:
    """Say a wait in words."""
    least = f"at least {span(wait.at_least_seconds)}"
    most = (
        "and nobody knows how long at most" if wait.at_most_seconds is None else f"at most {span(wait.at_most_seconds)}"
    )
    return f"{least}, {most}"
