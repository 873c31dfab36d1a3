"""`slipway teams|tokens|audit`."""

from typing import Annotated

import typer
from rich.markup import escape

from platform_app.cli.jobs import JsonFlag
from platform_app.cli.output import ago, console, print_json, print_table
from platform_app.client import Platform
from platform_app.specs import Overuse, Quota, Role, TokenSpec

app = typer.Typer()
teams = typer.Typer(help="Teams and their quotas: how much the running jobs of each may hold.", no_args_is_help=True)
tokens = typer.Typer(help="Tokens: who may do what, for which team, and until when.", no_args_is_help=True)
app.add_typer(teams, name="teams")
app.add_typer(tokens, name="tokens")

TeamName = Annotated[str, typer.Argument(help="Team, such as research.")]


@teams.command("list")
def list_teams(as_json: JsonFlag = False) -> None:
    """List your team, or all of them for an admin, with their quotas."""
    found = Platform().teams()
    rows = ([team.name, _quota_text(team.quota), ago(team.created_at)] for team in found)
    print_json(found) if as_json else print_table(["TEAM", "QUOTA", "MADE"], rows)


@teams.command("set")
def set_team(
    name: TeamName,
    gpus: Annotated[
        list[str] | None, typer.Option(help="KIND=NUMBER, such as A10G=4, A10G/spot=2 or '*=6'; may be repeated.")
    ] = None,
    cpus: Annotated[float | None, typer.Option(help="CPUs; absent: no bound.")] = None,
    jobs: Annotated[int | None, typer.Option(help="Jobs that run at one time; absent: no bound.")] = None,
    borrow: Annotated[bool, typer.Option("--borrow", help="May also have what other teams leave idle.")] = False,
    overuse: Annotated[
        Overuse,
        typer.Option(
            help="What becomes of a command that takes more GPUs than it declared (--entrypoint-num-gpus, "
            "slipway.gpus), and so than is charged: warn says it in its events, stop ends it within seconds."
        ),
    ] = Overuse.WARN,
    as_json: JsonFlag = False,
) -> None:
    """Make a team, or replace its whole quota: what is not given has no bound. What runs goes on."""
    bounds = dict(_bound(text) for text in gpus or ())
    team = Platform().put_team(name, Quota(gpus=bounds, cpus=cpus, jobs=jobs, borrow=borrow, overuse=overuse))
    if as_json:
        print_json(team)
        return
    console.print(f"{team.name}: {_quota_text(team.quota)}. Next: [bold]slipway tokens add NAME --team {team.name}[/]")


@tokens.command("list")
def list_tokens(as_json: JsonFlag = False) -> None:
    """List what is known of your team's tokens, or of all for an admin; never the tokens themselves."""
    found = Platform().tokens()
    rows = ([t.id, t.team, t.role, "yes" if t.is_valid else "no", t.expires_at, ago(t.created_at)] for t in found)
    print_json(found) if as_json else print_table(["ID", "TEAM", "ROLE", "VALID", "EXPIRES", "MADE"], rows)


@tokens.command("add")
def add_token(
    name: Annotated[str, typer.Argument(help="What it is for, such as ci or ada-laptop.")],
    team: Annotated[str, typer.Option(help="Whose it is.")],
    role: Annotated[Role, typer.Option(help="viewer looks, member submits and deploys, admin keeps teams.")] = (
        Role.MEMBER
    ),
    days: Annotated[float, typer.Option(min=0, help="Days until it expires; 0: never.")] = 90,
    as_json: JsonFlag = False,
) -> None:
    """Make a token. It is shown this once: what the platform keeps cannot be turned back into it."""
    made = Platform().add_token(TokenSpec(name=name, team=team, role=role, expires_in_days=days or None))
    if as_json:
        print_json(made)
        return
    console.print(escape(made.token), soft_wrap=True, highlight=False)
    console.print(f"{made.of.id}: {made.of.role} of {team}. It is shown this once. Next: export SLIPWAY_TOKEN=…")


@tokens.command("revoke")
def revoke_token(token_id: Annotated[str, typer.Argument(help="As `slipway tokens list` shows it.")]) -> None:
    """Let nobody in by a token any more. Revoking it again changes nothing."""
    console.print(f"{Platform().revoke_token(token_id).id} lets nobody in any more.")


@app.command()
def audit(
    limit: Annotated[int, typer.Option(min=1, max=200)] = 20,
    as_json: JsonFlag = False,
) -> None:
    """Show who changed what and when, newest first: your team's tokens, or all for an admin."""
    page = Platform().audit(limit)
    rows = ([one.at, f"{one.team}/{one.token}", one.action, one.path, one.detail, one.status] for one in page.items)
    print_json(page) if as_json else print_table(["WHEN", "WHO", "WHAT", "PATH", "DETAIL", "STATUS"], rows)


def _bound(text: str) -> tuple[str, float]:
    kind, equals, number = text.rpartition("=")
    try:
        return kind, float(number if equals else "")
    except ValueError:
        raise typer.BadParameter(f"--gpus: expected KIND=NUMBER, such as A10G=4; got {text!r}") from None


def _quota_text(quota: Quota) -> str:
    parts = [f"{kind} {bound:g}" for kind, bound in quota.gpus.items()]
    parts += [f"CPUs {quota.cpus:g}"] if quota.cpus is not None else []
    parts += [f"jobs {quota.jobs}"] if quota.jobs is not None else []
    parts = parts or ["no bounds"]
    parts += ["may borrow"] if quota.borrow else []
    parts += ["stopped for overuse"] if quota.overuse is Overuse.STOP else []
    return ", ".join(parts)
