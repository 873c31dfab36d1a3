"""`slipway models|promote|rollback|deploy|deployments|undeploy|cluster`."""

from typing import Annotated

import typer
from rich.markup import escape

from platform_app.cli.jobs import JsonFlag
from platform_app.cli.output import ago, coloured, console, metrics_text, print_json, print_table
from platform_app.client import Platform
from platform_app.domain.deployment import DeploymentState
from platform_app.specs import DeploymentSpec
from platform_app.views import DeploymentView, ModelView

app = typer.Typer()

Model = Annotated[str, typer.Argument(help="Registered model.")]
DeploymentName = Annotated[str, typer.Argument(help="Deployment.")]


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
    """Make a version the champion. Deployments that follow it roll over without a dropped request."""
    _say(Platform().promote(model, version), as_json)


@app.command()
def rollback(model: Model, as_json: JsonFlag = False) -> None:
    """Make the previous champion the champion again."""
    _say(Platform().rollback(model), as_json)


@app.command()
def deploy(
    name: DeploymentName,
    model: Annotated[str | None, typer.Option(help="Registered model; absent: the deployment's name.")] = None,
    alias: Annotated[str, typer.Option(help="The alias to follow.")] = "champion",
    min_replicas: Annotated[int, typer.Option(min=0, help="0 lets it scale to zero.")] = 1,
    max_replicas: Annotated[int, typer.Option(min=1)] = 1,
    scale_down_delay: Annotated[float, typer.Option(min=0, help="Seconds without work before a replica goes.")] = 300,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Do not wait until it answers.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Serve a model under a name and wait until it answers.

    Exit code: 0 when it is ready (or stored, with --detach), 1 when it failed.
    """
    spec = DeploymentSpec(
        model=model or name,
        alias=alias,
        min_replicas=min_replicas,
        max_replicas=max(min_replicas, max_replicas),
        scale_down_delay_seconds=scale_down_delay,
    )
    platform = Platform()
    deployment = platform.deploy(name, spec)
    if not detach:
        with console.status(f"deploying {name}"):
            deployment = platform.wait_deployed(name)
    if as_json:
        print_json(deployment)
    else:
        _show(deployment)
        console.print(f"Next: POST {platform.url}{deployment.url}/infer   (Open Inference Protocol v2)")
    raise typer.Exit(1 if deployment.state is DeploymentState.FAILED else 0)


@app.command()
def deployments(as_json: JsonFlag = False) -> None:
    """List deployments: what each should serve, and what it serves."""
    found = Platform().deployments()
    if as_json:
        print_json(found)
        return
    for deployment in found:
        _show(deployment)
    if not found:
        console.print("No deployments. Next: [bold]slipway deploy NAME --model MODEL[/]")


@app.command()
def undeploy(name: DeploymentName) -> None:
    """Delete a deployment. Deleting it again changes nothing."""
    Platform().undeploy(name)
    console.print(f"{name} is going.")


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


def _say(model: ModelView, as_json: bool) -> None:
    print_json(model) if as_json else console.print(f"{model.name}: {_aliases(model)}")


def _aliases(model: ModelView) -> str:
    return ", ".join(f"{alias} → {version}" for alias, version in sorted(model.aliases.items()))


def _show(deployment: DeploymentView) -> None:
    version = f"version {deployment.served_version}" if deployment.served_version else "nothing yet"
    line = (
        f"{deployment.name}  {coloured(deployment.state)}  {deployment.spec.model}@{deployment.spec.alias}: {version}"
    )
    console.print(f"{line}  {escape(deployment.message)}")
