"""`slipway models|promote|cluster`."""

from typing import Annotated

import typer

from platform_app.cli.jobs import JsonFlag
from platform_app.cli.output import ago, console, metrics_text, print_json, print_table
from platform_app.client import Platform
from platform_app.domain.deployment import CHALLENGER
from platform_app.views import ModelView

app = typer.Typer()

Model = Annotated[str, typer.Argument(help="Registered model.")]


@app.command()
def models(
    model: Annotated[str | None, typer.Argument(help="Show this model's versions; absent: all models.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """List registered models, or one model's versions with their metrics."""
    platform = Platform()
    if model is None:
        found = platform.models()
        rows = ([m.name, m.latest_version, _aliases(m)] for m in found)
        print_json(found) if as_json else print_table(["MODEL", "LATEST", "ALIASES"], rows)
        return
    versions = platform.versions(model)
    lines = ([v.version, ", ".join(v.aliases), v.job_id, metrics_text(v.metrics), ago(v.created_at)] for v in versions)
    print_json(versions) if as_json else print_table(["VERSION", "ALIASES", "JOB", "METRICS", "MADE"], lines)


@app.command()
def promote(
    model: Model,
    version: Annotated[int | None, typer.Argument(help="The newest when absent.", min=1)] = None,
    as_json: JsonFlag = False,
) -> None:
    """Make a version the champion. Deployments that follow it roll over without a dropped request.

    Where one takes new versions by canary, shadow or A/B, the version is tried first: it leads when it has passed.
    """
    promoted = Platform().promote(model, version)
    if as_json:
        print_json(promoted)
        return
    console.print(f"{promoted.name}: {_aliases(promoted)}")
    if CHALLENGER in promoted.aliases:
        console.print("The challenger is tried now. Next: [bold]slipway deployment NAME --follow[/]")


@app.command()
def cluster(as_json: JsonFlag = False) -> None:
    """Count the workers of every worker group, and what they cost."""
    found = Platform().cluster()
    if as_json:
        print_json(found)
        return
    rows = (
        [
            g.name,
            g.market,
            g.accelerator_type,
            g.workers,
            g.pending,
            f"{g.min_workers}-{g.max_workers}",
            f"${g.price_per_hour:.2f}",
        ]
        for g in found.worker_groups
    )
    print_table(["GROUP", "MARKET", "ACCELERATOR", "WORKERS", "PENDING", "RANGE", "PRICE/H"], rows)
    console.print(f"now: [bold]${found.price_per_hour:.2f}[/] per hour")


def _aliases(model: ModelView) -> str:
    return ", ".join(f"{alias} → {version}" for alias, version in sorted(model.aliases.items()))
