"""Make the journey, print what happens when, and exit non-zero where something is not as it must be.

python -m tests.kube.e2e                  # on this machine, without Docker: the stand-in
python -m tests.kube.e2e --kind [CONTEXT] # on a kind cluster: tests/kube/e2e/kind.yaml says how to make one
"""

import argparse
import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from platform_app.errors import SlipwayError
from tests.kube.e2e.journey import Failed, Journey
from tests.kube.e2e.on_kind import kind
from tests.kube.e2e.on_standin import standin


def main() -> int:
    """Make it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", metavar="CONTEXT", nargs="?", const="kind-slipway", help="of the kubeconfig")
    options = parser.parse_args()
    console = Console(soft_wrap=True)
    with tempfile.TemporaryDirectory(prefix="slipway-e2e-") as folder, ExitStack() as places:
        journey: Journey | None = None
        try:
            place = places.enter_context(kind(options.kind) if options.kind else standin(Path(folder)))
            journey = Journey(place, console)
            journey.make()
        except (Failed, TimeoutError, SlipwayError) as error:
            told = "\n".join([f"FAILED: {error}", *(journey.events() if journey else ())])
            console.print(told, style="red", markup=False, highlight=False)
            return 1
        console.print(f"All of it in {journey.timeline.seconds:.0f} s.", style="green", highlight=False)
        return 0


if __name__ == "__main__":
    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    sys.exit(main())
