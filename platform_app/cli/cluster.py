"""`slipway up`, `down`, `status` and `env`: the one-laptop cluster."""

import json
import shlex
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from platform_app.cli.output import complaints, console
from platform_app.local.cluster import LocalCluster
from platform_app.local.components import KEEPER, health
from platform_app.local.processes import members
from platform_app.local.state import ClusterState, find_state, resolve_home

Home = Annotated[
    Path | None, typer.Option(help="Folder that keeps the cluster's state. Default: $SLIPWAY_HOME, else ./.slipway")
]
Catalog = Annotated[
    Path | None, typer.Option(help="Catalog of worker groups. Default: the one that comes with Slipway")
]
HttpPort = Annotated[int | None, typer.Option(min=1, max=65535, help="Port of the API. Default: 8000, or a free one")]
Detach = Annotated[bool, typer.Option("--detach", "-d", help="Return when it is ready and leave it running")]
HaProxy = Annotated[
    bool | None,
    typer.Option(
        "--haproxy/--no-haproxy",
        envvar="SLIPWAY_HAPROXY",
        help="HAProxy as the proxy, or Ray Serve's own, which is slower. Default: HAProxy, where there is one",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="For scripts")]


def register(app: typer.Typer) -> None:
    """Add the commands to the `slipway` command."""
    for command in (up, down, status, env):
        app.command()(command)


def up(
    home: Home = None,
    http_port: HttpPort = None,
    catalog: Catalog = None,
    detach: Detach = False,
    haproxy: HaProxy = None,
) -> None:
    """Start the cluster on this machine: MLflow, Ray with its autoscaler, the API. Ctrl-C ends it."""
    cluster = LocalCluster(home)
    ours = None
    with _first_signal_interrupts():
        try:
            with _progress() as tell:
                state, started = cluster.up(tell, http_port, catalog, haproxy)
            ours = state if started and not detach else None
            _print_table(state, "Slipway is up" if started else "Slipway was up already")
            if ours:
                _wait_for_end(cluster, ours)
        except KeyboardInterrupt:
            if ours is None:
                complaints.print("Interrupted.")
                raise typer.Exit(130) from None
            if cluster.state == ours:
                _end(cluster)


def down(home: Home = None) -> None:
    """End the cluster. What it has stored stays."""
    _end(LocalCluster(home))


def status(home: Home = None, as_json: Json = False) -> None:
    """Say whether the cluster is up and which of its parts answer. Exit code 0 when all do, else 1."""
    cluster = LocalCluster(home)
    state = cluster.state
    report: dict[str, Any] = _report(state) if state else {"home": str(cluster.home), "up": False}
    if as_json:
        typer.echo(json.dumps(report, indent=2))
    elif state is None:
        _say(f"Nothing is up in {cluster.home}. Start it with: slipway up")
    else:
        silent = [name for name, well in report["answers"].items() if not well]
        _print_table(state, f"No answer from {', '.join(silent)}" if silent else "Slipway is up")
    if not report["up"]:
        raise typer.Exit(1)


def env(home: Home = None) -> None:
    """Print shell exports, for `eval "$(slipway env)"`: then `slipway` and `ray job submit` find the cluster."""
    state = find_state(home)
    if state is None:
        _say(f"Nothing is up in {resolve_home(home)}. Start it with: slipway up --detach")
        raise typer.Exit(1)
    for name, value in state.shell_environment().items():
        typer.echo(f"export {name}={shlex.quote(value)}")


def _report(state: ClusterState) -> dict[str, Any]:
    answers = health(state)
    return {
        "home": str(state.home),
        "up": all(answers.values()),
        "answers": answers,
        "api_url": state.api_url,
        "mlflow_url": state.tracking_uri,
        "ray_dashboard_url": state.dashboard_url,
        "ray_address": state.ray_address,
        "storage": str(state.storage),
        "logs": str(state.logs),
        "proxy": _proxy(state),
        "keeper": _keeper(state),
        "uptime_seconds": round((datetime.now(UTC) - state.started_at).total_seconds()),
        "processes": len(members(state.cluster_id)),
    }


def _proxy(state: ClusterState) -> str:
    return "HAProxy" if state.haproxy else "Ray Serve's own, which is slower than HAProxy"


def _keeper(state: ClusterState) -> str:
    if not members(state.cluster_id, {KEEPER}):
        return "does not run; `slipway up` starts it"
    try:
        return state.keeper_note.read_text()
    except FileNotFoundError:
        return "begins"


def _print_table(state: ClusterState, title: str) -> None:
    console.print(title, style="bold")
    for name, value in (
        ("API", f"{state.api_url} (docs: {state.api_url}/docs)"),
        ("MLflow", state.tracking_uri),
        ("Ray dashboard", state.dashboard_url),
        ("Proxy", _proxy(state)),
        ("Keeper", _keeper(state)),
        ("API token", state.api_token),
        ("State", str(state.home)),
        ("Logs", f"{state.logs} (Ray's: {state.temp_dir}/session_latest/logs)"),
        ("Shell", f'eval "$(slipway env --home {shlex.quote(str(state.home))})"'),
        ("Next", "slipway submit jobs/examples/ddp.yaml"),
    ):
        # Not broken by us, so that a URL, a path or a token can be copied.
        console.print(Text.assemble("  ", (f"{name:<14}", "cyan"), value), soft_wrap=True)


@contextmanager
def _progress() -> Iterator[Any]:
    columns = (SpinnerColumn(finished_text="[green]✓[/]"), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=complaints) as bars:
        tasks: dict[str, TaskID] = {}

        def tell(name: str, ready: bool) -> None:
            if ready:
                bars.update(tasks[name], total=1, completed=1)
            else:
                tasks[name] = bars.add_task(name, total=None)

        yield tell


@contextmanager
def _first_signal_interrupts() -> Iterator[None]:
    """Take the ends that a terminal or a supervisor asks for as Ctrl-C; once, so that none cuts off the cleaning up."""
    interrupted = False

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        nonlocal interrupted
        if not interrupted:
            interrupted = True
            raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait_for_end(cluster: LocalCluster, state: ClusterState) -> None:
    _say("Ctrl-C ends it.")
    while cluster.state == state:
        time.sleep(0.5)
    _say("It was ended by someone else.")


def _end(cluster: LocalCluster) -> None:
    begun = time.monotonic()
    with complaints.status("Ending the cluster"):
        ended = cluster.down()
    seconds = time.monotonic() - begun
    _say(f"The cluster of {cluster.home} is down ({seconds:.1f} s)." if ended else f"Nothing is up in {cluster.home}.")


def _say(sentence: str) -> None:
    """Tell a person something that a script has no use for."""
    complaints.print(sentence, soft_wrap=True, markup=False, highlight=False)
