"""Requests per second and latency of served models, beside bare Ray Serve and the Python servers that one could pick.

python -m tests.benchmarks.serving [--peers LitServe MLServer] [--models mlp] [--rounds 1] [--seconds 1]

Ours is what users get: a local platform that `slipway up` started, the model in its MLflow, deployed with one replica,
asked by a token through the cluster's proxy. The peers are in `tests/benchmarks/peers.py`. Each has one process with
the model. Each is sent the same rows as JSON, one row or 32, over 1, 16 and 64 connections, by the load generator of
`tests/benchmarks/load.py` in a process of its own; its answers are compared with the model's before it is measured. One
server is up at a time, and every other round goes the other way about. All figures go to `build/serving.json`.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import httpx
from rich.console import Console
from rich.table import Table

from platform_app.specs import DeploymentSpec
from tests.benchmarks.digit_models import MODELS, DigitModel, make_model, rows_of
from tests.benchmarks.figure import COLUMNS, Figure
from tests.benchmarks.load import Measured
from tests.benchmarks.machine import described
from tests.benchmarks.peers import JSON, PEERS, Peer, Unavailable, install, serving
from tests.benchmarks.wires import Wire, body, is_right
from tests.running import running_platform

OURS = "Slipway"
CONNECTIONS = (1, 16, 64)
ROWS = (1, 32)
WARM_UP_SECONDS = 1.0
OUT = Path("build/serving.json")

console = Console(width=150)


@dataclass(frozen=True, order=True)
class Load:
    """One way of asking."""

    model: str
    rows: int
    connections: int


@dataclass
class Results:
    """What was measured of each server under each load, round by round."""

    measured: dict[str, dict[Load, list[Measured]]] = field(default_factory=dict)
    unavailable: dict[str, str] = field(default_factory=dict)
    """Why a peer has no figures, by its name."""

    def add(self, server: str, load: Load, measured: Measured) -> None:
        """Keep one."""
        self.measured.setdefault(server, {}).setdefault(load, []).append(measured)

    def median(self, server: str, load: Load) -> Measured:
        """Give the middle of the rounds, figure by figure."""
        rounds = self.measured[server][load]
        columns = zip(*(asdict(one).values() for one in rounds), strict=True)
        return Measured(*(statistics.median(column) for column in columns))

    def loads(self) -> list[Load]:
        """List the loads that ours was measured under."""
        return sorted(self.measured[OURS])

    def peers(self) -> list[str]:
        """List the peers that were measured under all of them."""
        return [name for name in self.measured if name != OURS and name not in self.unavailable]


def measure(peers: Sequence[Peer], models: Sequence[str], rounds: int, seconds: float) -> Results:
    """Measure ours and the peers in turn."""
    results = Results()
    with tempfile.TemporaryDirectory(prefix="slipway-bench-") as folder:
        made = [make_model(name, Path(folder)) for name in models]
        for number in range(rounds):
            for peer in [*peers, None][:: -1 if number % 2 else 1]:
                name = peer.name if peer else OURS
                console.print(f"round {number + 1}: {name}")
                if peer is None:
                    _measure_ours(results, made, seconds, Path(folder))
                elif name not in results.unavailable:
                    try:
                        _measure_peer(results, peer, made, seconds, Path(folder))
                    except Unavailable as why:
                        results.unavailable[name] = str(why)
    return results


def _measure_peer(results: Results, peer: Peer, models: Iterable[DigitModel], seconds: float, folder: Path) -> None:
    install(peer)
    for model in models:
        with serving(peer, model) as url:
            for load, measured in _loads(model, url, peer.wire, JSON, seconds, folder):
                results.add(peer.name, load, measured)


def _measure_ours(results: Results, models: Sequence[DigitModel], seconds: float, folder: Path) -> None:
    with running_platform() as running:
        for model in models:
            model.register(running.state.tracking_uri)
            running.client.promote(model.name)
            running.client.deploy(model.name, DeploymentSpec(model=model.name))
        headers = {**JSON, "authorization": f"Bearer {running.state.api_token}"}
        for model in models:
            running.client.wait_deployed(model.name, timeout=300)
            url = f"{running.state.api_url}/v2/models/{model.name}/infer"
            rows = rows_of(3)
            answer = httpx.post(url, content=body(Wire.OPEN_INFERENCE, rows), headers=headers, timeout=60)
            assert is_right(Wire.OPEN_INFERENCE, answer.raise_for_status().content, model.expected(rows)), answer.text
            for load, measured in _loads(model, url, Wire.OPEN_INFERENCE, headers, seconds, folder):
                results.add(OURS, load, measured)


def _loads(
    model: DigitModel, url: str, wire: Wire, headers: dict[str, str], seconds: float, folder: Path
) -> Iterator[tuple[Load, Measured]]:
    for count in ROWS:
        file = folder / "body.json"
        file.write_bytes(body(wire, rows_of(count)))
        sent = [word for name, value in headers.items() for word in ("--header", f"{name}: {value}")]
        for connections in CONNECTIONS:
            command = [sys.executable, "-m", "tests.benchmarks.load", url, "--body", str(file), *sent]
            size = ["--concurrency", str(connections), "--seconds", str(seconds), "--warm-up", str(WARM_UP_SECONDS)]
            done = subprocess.run([*command, *size], check=True, capture_output=True, text=True)
            yield Load(model.name, count, connections), Measured(**json.loads(done.stdout))


def figures(results: Results) -> list[Figure]:
    """Compare ours with the best of the peers under each load: of throughput the highest, of p99 the lowest."""
    compared = []
    for load in results.loads() if results.peers() else ():
        ways = [("per_second", "requests/s", 0.9 if load.connections == 1 else 1.5, True)]
        if load.connections > 1:
            ways.append(("p99_ms", "ms p99", 1.0, False))
        for name, unit, goal, at_least in ways:
            best = (max if at_least else min)(
                results.peers(), key=lambda peer, name=name, load=load: getattr(results.median(peer, load), name)
            )
            ours, peer = ([getattr(one, name) for one in results.measured[server][load]] for server in (OURS, best))
            what = f"{load.model}, {load.rows} row{'s' * (load.rows > 1)}, c {load.connections}, beside {best}"
            compared.append(Figure("serving", what, unit, ours, peer, goal, at_least))
    return compared


def table(results: Results, versions: dict[str, str]) -> Table:
    """Show all that was measured, the fastest first, and name the peers that were not."""
    shown = Table("MODEL", "ROWS", "C", "SERVER", "REQUESTS/S", "P50 MS", "P99 MS", "ERRORS", box=None)
    for load in results.loads():
        servers = [OURS, *results.peers()]
        ranked = sorted(servers, key=lambda server, load=load: -results.median(server, load).per_second)
        for server in ranked:
            one = results.median(server, load)
            numbers = (f"{one.per_second:.0f}", f"{one.p50_ms:.2f}", f"{one.p99_ms:.2f}", f"{one.errors:g}")
            named = f"{server} {versions.get(server, '')}".strip()
            style = "bold" if server == OURS else None
            shown.add_row(load.model, str(load.rows), str(load.connections), named, *numbers, style=style)
        shown.add_section()
    for peer, why in results.unavailable.items():
        shown.add_row("", "", "", f"{peer} {versions.get(peer, '')}", why, style="red")
    return shown


def run(peers: Sequence[Peer], models: Sequence[str], rounds: int, seconds: float) -> list[Figure]:
    """Measure, show the table, keep all of it in `build/serving.json`, and give the comparisons."""
    results = measure(peers, models, rounds, seconds)
    versions = {peer.name: peer.version for peer in peers if peer.name not in results.unavailable}
    console.print(table(results, versions))
    told = {
        **described(),
        "peers": versions,
        "unavailable": results.unavailable,
        "measured": [
            {"server": server, **asdict(load), "rounds": [asdict(one) for one in measured]}
            for server, loads in results.measured.items()
            for load, measured in loads.items()
        ],
    }
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(told, indent=2) + "\n")
    return figures(results)


def serving_beside_peers(rounds: int) -> list[Figure]:
    """Measure all peers and models, as `make bench` does."""
    return run(PEERS, MODELS, rounds, seconds=3.0)


def main() -> None:
    """Measure what was asked for, and print the comparisons."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", nargs="*", default=[peer.name for peer in PEERS], help="names, or their beginnings")
    parser.add_argument("--models", nargs="*", default=MODELS, choices=MODELS)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each load")
    options = parser.parse_args()
    peers = [peer for peer in PEERS if peer.name.startswith(tuple(options.peers))]
    compared = run(peers, options.models, options.rounds, options.seconds)
    shown = Table(*COLUMNS, box=None, header_style="bold")
    for figure in compared:
        shown.add_row(*figure.row())
    console.print(shown)


if __name__ == "__main__":
    main()
