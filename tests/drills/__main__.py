"""Run the drills, print what was seen, and exit non-zero where one failed.

python -m tests.drills [--count 20] [reclaims] [kills] [elastic] [replays] [language] [sweeps] [rollouts] [serving]
                       [cold-start] [second]
"""

import argparse
import sys

from rich.console import Console
from rich.table import Table

from tests.drills.cold_start import cold_start
from tests.drills.elastic import elastic
from tests.drills.finding import Finding
from tests.drills.kills import kills
from tests.drills.language import language
from tests.drills.reclaims import reclaims
from tests.drills.replays import replays
from tests.drills.rollouts import rollouts
from tests.drills.second import second
from tests.drills.serving import serving
from tests.drills.sweeps import sweeps
from tests.running import running_platform

DRILLS = {
    "reclaims": reclaims,
    "kills": kills,
    "elastic": elastic,
    "replays": replays,
    "language": language,
    "sweeps": sweeps,
    "rollouts": rollouts,
    "serving": serving,
    "cold-start": cold_start,
    "second": second,
}

console = Console(width=150)


def main() -> int:
    """Run those that were named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("drills", nargs="*", help=f"of {', '.join(DRILLS)}; absent: all")
    parser.add_argument("--count", type=int, default=20, help="reclaims and kills of each drill")
    options = parser.parse_args()
    if unknown := set(options.drills) - DRILLS.keys():
        parser.error(f"no such drill: {', '.join(sorted(unknown))}; there are {', '.join(DRILLS)}")
    findings: list[Finding] = []
    for name in options.drills or DRILLS:
        console.rule(name)
        # Each on a platform of its own, so that none inherits what another left.
        with running_platform() as running:
            findings += DRILLS[name](running, options.count)
    table = Table("DRILL", "WHAT", "SEEN", "", box=None, header_style="bold")
    for one in findings:
        table.add_row(one.drill, one.what, one.seen, "[green]ok[/]" if one.passed else "[red]FAILED[/]")
    console.print(table)
    return 0 if all(one.passed for one in findings) else 1


if __name__ == "__main__":
    sys.exit(main())
