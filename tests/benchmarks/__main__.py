"""Run the benchmarks, print a table, and write the figures to a file with the machine and the versions.

python -m tests.benchmarks [ddp] [explain] [ledger] [serving] [trials] [--rounds 5] [--out build/benchmarks.json]
"""

import argparse
import json
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.benchmarks.ddp import ddp
from tests.benchmarks.explain import explain
from tests.benchmarks.figure import COLUMNS, Figure
from tests.benchmarks.ledger import ledger
from tests.benchmarks.machine import described
from tests.benchmarks.serving import serving_beside_peers
from tests.benchmarks.sweeps import trials

PARTS = {"ddp": ddp, "explain": explain, "ledger": ledger, "serving": serving_beside_peers, "trials": trials}

console = Console(width=150)


def main() -> None:
    """Run those that were named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; absent: all")
    parser.add_argument("--rounds", type=int, default=5, help="of each part: ours and the peer in turn")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks.json"), help="file for the figures")
    options = parser.parse_args()
    if unknown := set(options.parts) - PARTS.keys():
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    machine = described()
    figures: list[Figure] = []
    for name in options.parts or PARTS:
        console.rule(name)
        figures += PARTS[name](options.rounds)
    table = Table(*COLUMNS, box=None, header_style="bold")
    for figure in figures:
        table.add_row(*figure.row())
    console.print(table)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    told = {**machine, "figures": [figure.plain() for figure in figures]}
    options.out.write_text(json.dumps(told, indent=2) + "\n")
    console.print(f"Figures, machine and versions: {options.out}", highlight=False)


if __name__ == "__main__":
    main()
