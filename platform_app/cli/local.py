"""`slipway local …`: the simulated spot market of the one-laptop cluster, by hand and from a trace."""

import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from platform_app.cli.cluster import Home
from platform_app.cli.output import ago, complaints, console, print_json, print_table, span
from platform_app.errors import FieldProblem, InvalidRequest, NotFound, TemporaryError
from platform_app.local import market
from platform_app.local.replay import read_trace, replay, schedule
from platform_app.local.spot import Limit, Node, NodeState, first_to_go
from platform_app.local.state import ClusterState, find_state, resolve_home

app = typer.Typer(
    no_args_is_help=True,
    help="Play the spot market of the cluster on this machine: take nodes away, and be out of stock.",
)

Group = Annotated[str | None, typer.Option(help="Worker group. Default: the first spot group of the catalog")]
GroupArgument = Annotated[str, typer.Argument(help="Worker group, such as gpu-spot.")]
NodeName = Annotated[str | None, typer.Option("--node", help="One node, as `slipway local nodes` shows it")]
Count = Annotated[int, typer.Option(min=1, help="How many nodes of the group; the longest running first")]
Notice = Annotated[float, typer.Option(min=1, help="Seconds from the notice to the kill")]


@app.command("nodes")
def list_nodes(home: Home = None, as_json: Annotated[bool, typer.Option("--json", help="For scripts")] = False) -> None:
    """List the worker nodes and what the market has of their groups."""
    state = _cluster(home)
    there = market.market(state)
    if as_json:
        print_json(there)
        return
    rows = [[node.name, node.group, _state_text(node), ago(node.since)] for node in there.nodes]
    if rows:
        print_table(["NODE", "GROUP", "STATE", "ASKED FOR"], rows)
    else:
        console.print("No worker nodes: they come when a job needs them. Next: slipway submit jobs/examples/ddp.yaml")
    for group, limit in there.limits.items():
        console.print(f"{group}: {_limit_text(limit)}. Next: slipway local restock {group}")


@app.command()
def reclaim(
    group: Group = None, node: NodeName = None, notice: Notice = 30.0, count: Count = 1, home: Home = None
) -> None:
    """Take nodes back with a notice: Ray drains them as preempted, then they are killed."""
    state = _cluster(home)
    for name in _chosen(state, group, node, count):
        taken = market.reclaim(state, name, notice)
        left = f" in {_until(taken.kill_at)}" if taken.kill_at else ""
        console.print(f"{name} has its notice and is killed{left}.", highlight=False)
    console.print("Next: slipway local nodes")


@app.command()
def kill(group: Group = None, node: NodeName = None, count: Count = 1, home: Home = None) -> None:
    """Kill nodes without notice: SIGKILL for the raylet and all its children."""
    state = _cluster(home)
    for name in _chosen(state, group, node, count):
        market.kill(state, name)
        console.print(f"{name} was killed.", highlight=False)
    console.print("Ray notices within seconds, and a node that is still needed is replaced. Next: slipway local nodes")


@app.command()
def stockout(
    group: GroupArgument,
    alive: Annotated[
        int | None, typer.Option(min=0, help="Reclaim what is above. Default: what runs stays, nothing new comes")
    ] = None,
    notice: Notice = 30.0,
    home: Home = None,
) -> None:
    """Let a group be out of stock: its new workers stay pending, as a pod that cannot be scheduled does."""
    state = _cluster(home)
    there = market.stock(state, group, alive or 0, notice_seconds=notice, keep=alive is None)
    console.print(f"{group}: {_limit_text(there.limits[group])}.", highlight=False)
    for node in there.of(group):
        if node.kill_at:
            console.print(f"{node.name} has its notice and is killed in {_until(node.kill_at)}.", highlight=False)
    console.print(f"Next: slipway local nodes, and later slipway local restock {group}")


@app.command()
def restock(group: GroupArgument, home: Home = None) -> None:
    """Let a group be in stock again: pending workers start at once."""
    market.stock(_cluster(home), group, None)
    console.print(f"{group} is in stock. Next: slipway local nodes", highlight=False)


@app.command("replay")
def replay_trace(
    trace: Annotated[Path, typer.Argument(help='JSON: {"metadata": {"gap_seconds": n}, "data": [alive, ...]}.')],
    group: Group = None,
    speed: Annotated[float, typer.Option(help="Seconds of the trace for one second here")] = 600.0,
    notice: Annotated[float, typer.Option(min=0, help="Seconds here from notice to kill; 0 for no notice")] = 30.0,
    home: Home = None,
) -> None:
    """Let a group's stock follow a trace of a real market. At its end, or at Ctrl-C, the group is in stock again."""
    read = read_trace(trace)
    changes = schedule(read, speed)
    state = _cluster(home)
    name = market.check_group(state, group) if group else market.spot_group(state)
    seconds = read.seconds / speed
    console.print(f"{len(changes)} changes of {name} in {span(seconds)}; Ctrl-C ends it.", highlight=False)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    told = 0
    try:
        with Progress(*columns, console=complaints) as bars:
            bar = bars.add_task(name, total=seconds)
            with closing(replay(state, name, read, speed, notice, _waits(bars, bar))) as changing:
                for change in changing:
                    bars.update(bar, completed=change.at_seconds, description=f"{name}: {change.alive} alive")
                    told += 1
    except KeyboardInterrupt:
        complaints.print(f"Ended after {told} of {len(changes)} changes.", highlight=False)
        raise typer.Exit(130) from None
    finally:
        complaints.print(f"{name} is in stock again. Next: slipway local nodes", highlight=False)


def _cluster(home: Path | None) -> ClusterState:
    if state := find_state(home):
        return state
    raise TemporaryError(f"nothing is up in {resolve_home(home)}. Start it with: slipway up --detach")


def _chosen(state: ClusterState, group: str | None, node: str | None, count: int) -> list[str]:
    if node is not None:
        if group is not None or count != 1:
            raise InvalidRequest(FieldProblem("--node", "names one node; leave --group and --count out"))
        return [node]
    group = market.check_group(state, group) if group else market.spot_group(state)
    found = [one.name for one in first_to_go(market.market(state).of(group)) if one.state is NodeState.RUNNING]
    if len(found) < count:
        raise NotFound(f"{len(found)} node(s) of {group} run without a notice, fewer than --count {count}")
    return found[:count]


def _state_text(node: Node) -> str:
    if node.kill_at:
        return f"[red]{node.state}[/], killed in {_until(node.kill_at)}"
    return f"[{'green' if node.state is NodeState.RUNNING else 'yellow'}]{node.state}[/]"


def _limit_text(limit: Limit) -> str:
    if limit.keep:
        return "out of stock; what runs stays"
    return f"{limit.alive} alive at most" if limit.alive else "out of stock"


def _until(moment: datetime) -> str:
    return span(max(0.0, (moment - datetime.now(UTC)).total_seconds()))


def _waits(bars: Progress, bar: TaskID) -> Callable[[float], None]:
    def wait(seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            step = min(0.2, left)
            time.sleep(step)
            bars.advance(bar, step)

    return wait
