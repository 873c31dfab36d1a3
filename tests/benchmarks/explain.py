"""How long an answer to `why` takes, over the whole corpus of injected causes, of the two seconds that it may."""

import tempfile
import time
from pathlib import Path

from platform_app.adapters.database import migrate
from tests.benchmarks.figure import Figure
from tests.control_plane import ControlPlane
from tests.service.corpus import CASES

ALLOWED_SECONDS = 2.0


def explain(rounds: int) -> list[Figure]:
    """Measure the slowest answer of each round."""
    with tempfile.TemporaryDirectory(prefix="slipway-bench-") as folder:
        template = Path(folder) / "empty.db"
        migrate(f"sqlite:///{template}")
        slowest = [max(_seconds(template, Path(folder), number, case) for case in CASES) for number in range(rounds)]
    what = f"slowest of {len(CASES)} explanations, of the seconds allowed"
    return [Figure("explain", what, "s", slowest, [ALLOWED_SECONDS] * rounds, goal=1.0, at_least=False)]


def _seconds(template: Path, folder: Path, number: int, case) -> float:
    """Inject a cause into a control plane of its own, and time the question."""
    place = folder / f"{number}-{case.name.replace('/', ' ')}"
    place.mkdir()
    plane = ControlPlane(place, template)
    plane.tick()
    job_id = case.inject(plane)
    began = time.perf_counter()
    plane.explain.explain(job_id)
    seconds = time.perf_counter() - began
    plane.database.close()
    return seconds
