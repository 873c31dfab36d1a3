"""Trials per minute of a sweep beside plain Ray Tune, in a process of its own: it turns off loggers of Tune's."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.benchmarks.figure import Figure

TRIALS = 100


def trials(_rounds: int) -> list[Figure]:
    """Measure one round: a hundred trials of each are enough of a median."""
    with tempfile.TemporaryDirectory(prefix="slipway-bench-") as folder:
        out = Path(folder) / "trials.json"
        command = [sys.executable, "-m", "tests.benchmarks.trials", "--trials", str(TRIALS), "--out", str(out)]
        subprocess.run(command, check=True, timeout=3600)
        figures = json.loads(out.read_text())
    per_minute = figures["trials_per_minute"]
    return [
        Figure(
            part="trials",
            what=f"{TRIALS} trials of 1 s, {figures['at_once']} at once, beside plain Ray Tune",
            unit="trials/min",
            ours=[per_minute["sweep"]],
            peer=[per_minute["plain"]],
            goal=figures["goal"],
            at_least=True,
        )
    ]
