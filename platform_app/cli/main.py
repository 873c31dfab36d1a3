"""The `slipway` command: puts the sub-commands together and turns errors into a sentence and an exit code.

Exit codes: 0 done · 1 the job or deployment failed, or something unexpected · 2 the request cannot be carried out ·
3 there is no such thing · 4 the token is not known · 5 the platform is away · 130 interrupted.
"""

import sys

import typer
import yaml
from pydantic import ValidationError

from platform_app.cli import cluster, deployments, doctor, jobs, local, models, submit, teams, why
from platform_app.cli.output import complain
from platform_app.client import ApiError
from platform_app.errors import InvalidRequest, NotFound, SlipwayError, TemporaryError, Unauthenticated

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Train, sweep and serve on GPU workers that scale from zero.\n\n"
    "First: [bold]slipway up --detach[/], then [bold]slipway submit jobs/examples/ddp.yaml[/].",
)
cluster.register(app)
app.add_typer(submit.app)
app.add_typer(jobs.app)
app.add_typer(why.app)
app.add_typer(models.app)
app.add_typer(deployments.app)
app.add_typer(teams.app)
app.add_typer(doctor.app)
app.add_typer(local.app, name="local")

_EXIT_CODES: tuple[tuple[type[SlipwayError], int], ...] = (
    (InvalidRequest, 2),
    (NotFound, 3),
    (Unauthenticated, 4),
    (TemporaryError, 5),
)
_EXIT_CODES_BY_STATUS = {404: 3, 401: 4, 403: 4}


def main() -> None:
    """Run the command line."""
    try:
        app()
    except SlipwayError as error:
        complain(str(error))
        for problem in getattr(error, "problems", ()):
            complain(f"  {problem.field}: {problem.message}", head="")
        sys.exit(exit_code(error))
    except (ValidationError, yaml.YAMLError, OSError, TimeoutError) as error:
        complain(str(error))
        sys.exit(2 if isinstance(error, (ValidationError, yaml.YAMLError)) else 1)


def exit_code(error: SlipwayError) -> int:
    """Give the exit code for an error."""
    if isinstance(error, ApiError):
        return _EXIT_CODES_BY_STATUS.get(error.status, 2 if error.status < 500 else 1)
    return next((code for kind, code in _EXIT_CODES if isinstance(error, kind)), 1)


if __name__ == "__main__":
    main()
