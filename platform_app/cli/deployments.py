"""`slipway deploy|deployments|deployment|rollback|revisions|lineage|undeploy`."""

from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

from platform_app.cli.jobs import JsonFlag
from platform_app.cli.output import ago, coloured, console, print_json, print_table
from platform_app.client import ApiError, Platform
from platform_app.domain.deployment import DeploymentState
from platform_app.domain.rollout import Phase
from platform_app.serving_views import DeploymentView, RolloutView
from platform_app.specs import DeploymentSpec, Strategy

app = typer.Typer()

DeploymentName = Annotated[str, typer.Argument(help="Deployment.")]


@app.command()
def deploy(
    name: DeploymentName,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="YAML of the whole deployment; options given win over it.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Registered model; absent: the deployment's name.")] = None,
    alias: Annotated[str | None, typer.Option(help="The alias to follow. [default: champion]")] = None,
    min_replicas: Annotated[int | None, typer.Option(min=0, help="0 lets it scale to zero. [default: 1]")] = None,
    max_replicas: Annotated[int | None, typer.Option(min=1, help="[default: 1]")] = None,
    scale_down_delay: Annotated[
        float | None, typer.Option(min=0, help="Seconds without work before a replica goes. [default: 300]")
    ] = None,
    strategy: Annotated[
        Strategy | None, typer.Option(help="How new versions take over, from the next on. [default: immediate]")
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Do not wait until it answers.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Serve a model under a name and wait until it answers.

    Exit code: 0 when it is ready (or stored, with --detach), 1 when it failed.
    """
    fields: dict[str, Any] = {"model": name, **(yaml.safe_load(file.read_text()) if file else {})}
    given = {
        "model": model,
        "alias": alias,
        "min_replicas": min_replicas,
        "max_replicas": max_replicas,
        "scale_down_delay_seconds": scale_down_delay,
    }
    fields |= {option: value for option, value in given.items() if value is not None}
    if (min_replicas or 0) > fields.get("max_replicas", 1) and max_replicas is None:
        fields["max_replicas"] = min_replicas
    if strategy:
        fields["rollout"] = {**fields.get("rollout", {}), "strategy": strategy}
    platform = Platform()
    deployment = platform.deploy(name, DeploymentSpec.model_validate(fields))
    if not detach:
        with console.status(f"deploying {name}"):
            deployment = platform.wait_deployed(name)
    if as_json:
        print_json(deployment)
    else:
        _show(deployment)
        console.print(f"Next: {_way_in(platform.url, deployment)}")
    raise typer.Exit(1 if deployment.state is DeploymentState.FAILED else 0)


def _way_in(url: str, deployment: DeploymentView) -> str:
    if deployment.spec.llm:
        return f"OpenAI(base_url={url + deployment.url + '/v1'!r}, api_key=…), with model={deployment.name!r}"
    return f"POST {url}{deployment.url}/infer   (Open Inference Protocol v2)"


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
def deployment(
    name: DeploymentName,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Until its rollout is over.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Show a deployment, its rollout, and what the guards have seen.

    Exit code: 0, or with --follow 1 when the rollout was rolled back.
    """
    platform = Platform()
    found = _followed(platform, name) if follow and not as_json else platform.deployment(name)
    if follow and as_json:
        found = platform.wait_rollout(name)
    if as_json:
        print_json(found)
    else:
        _show(found)
        if found.rollout:
            _show_rollout(found.rollout)
        print_table(
            ["AT", "EVENT", ""], ([ago(e.at), e.kind, e.message] for e in platform.deployment_events(name)[-8:])
        )
    rolled_back = found.rollout is not None and found.rollout.phase is Phase.ROLLED_BACK
    raise typer.Exit(1 if follow and rolled_back else 0)


@app.command()
def rollback(
    name: Annotated[str, typer.Argument(help="Deployment; or a registered model that no deployment is named after.")],
    to: Annotated[int | None, typer.Option(min=1, help="A revision; see: slipway revisions.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Go back: end a rollout, or serve what served before. The alias and the traffic move together."""
    platform = Platform()
    try:
        found = platform.rollback_deployment(name, to)
    except ApiError as error:
        if error.code != "not-found" or to is not None or not any(one.name == name for one in platform.models()):
            raise
        model = platform.rollback(name)
        print_json(model) if as_json else console.print(f"{model.name}: champion → {model.aliases['champion']}")
        return
    if as_json:
        print_json(found)
        return
    _show(found)
    console.print(f"Next: [bold]slipway deployment {name}[/]")


@app.command()
def revisions(name: DeploymentName, as_json: JsonFlag = False) -> None:
    """List what was ever served under a name, newest first."""
    found = Platform().revisions(name)
    if as_json:
        print_json(found)
        return
    rows = ([r.number, f"{r.model} {r.model_version}", r.state, ago(r.created_at)] for r in found)
    print_table(["REVISION", "VERSION", "STATE", "MADE"], rows)
    console.print(f"Next: [bold]slipway rollback {name} --to REVISION[/] or [bold]slipway lineage {name} REVISION[/]")


@app.command()
def lineage(
    name: Annotated[str, typer.Argument(help="Deployment, with a revision; or a job.")],
    revision: Annotated[int | None, typer.Argument(help="As an answer's header slipway-revision says.", min=1)] = None,
    as_json: JsonFlag = False,
) -> None:
    """Trace a revision back to its model version, job, attempt, spec and commit; or a job on to what serves it."""
    platform = Platform()
    if revision is None:
        served = platform.job_revisions(name)
        rows = ([r.deployment, r.number, f"{r.model} {r.model_version}", r.state] for r in served)
        print_json(served) if as_json else print_table(["DEPLOYMENT", "REVISION", "VERSION", "STATE"], rows)
        return
    found = platform.lineage(name, revision)
    if as_json:
        print_json(found)
        return
    origin, one = found.origin, found.revision
    told = {
        "revision": f"{one.deployment} {one.number} ({one.state})",
        "model version": f"{one.model} {one.model_version}",
        "MLflow run": origin and origin.run_id,
        "job": origin and origin.job_id,
        "attempt": origin and origin.attempt,
        "spec": origin and origin.spec_digest,
        "commit": origin and origin.commit,
    }
    print_table(["", ""], ([what, value or "not known"] for what, value in told.items()))


@app.command()
def undeploy(name: DeploymentName) -> None:
    """Delete a deployment. Deleting it again changes nothing."""
    Platform().undeploy(name)
    console.print(f"{name} is going.")


def _followed(platform: Platform, name: str) -> DeploymentView:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[message]}"))
    with Progress(*columns, console=console, transient=True) as bars:
        bar = bars.add_task(name, total=1.0, message="")

        def show(found: DeploymentView) -> None:
            if rollout := found.rollout:
                done = {Phase.PROMOTING: 1.0, Phase.SETTLING: 1.0}.get(rollout.phase, _done(rollout))
                what = f"{name} {rollout.phase.lower()} {rollout.weight:g} %"
                bars.update(bar, completed=done, description=what, message=escape(rollout.message))

        return platform.wait_rollout(name, on_change=show)


def _done(rollout: RolloutView) -> float:
    """Say how much of the steps is over, from 0 to 1."""
    return (rollout.step - 1 + rollout.step_progress) / rollout.num_steps


def _show(found: DeploymentView) -> None:
    version = f"version {found.served_version}" if found.served_version else "nothing yet"
    line = f"{found.name}  {coloured(found.state)}  {found.spec.model}@{found.spec.alias}: {version}"
    console.print(f"{line}  {escape(found.message)}")


def _show_rollout(rollout: RolloutView) -> None:
    bar = "█" * round(20 * _done(rollout))
    state = f"version {rollout.candidate_version} (revision {rollout.revision}): {rollout.phase}"
    console.print(f"{rollout.strategy} of {state}  {bar:░<20} {rollout.weight:g} % of the requests")
    rows = ([g.name, f"{g.log_evidence:+.1f} of {g.log_bound:.1f}", g.numbers] for g in rollout.guards)
    print_table(["GUARD", "EVIDENCE (LOG)", "SEEN"], rows)
