"""What reported numbers mean: which of them are the workload's, and which is better."""

import math
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from platform_app.specs import Objective

T = TypeVar("T")

BOOKKEEPING = frozenset({"step", "total_steps"})
"""What `jobs.loop` reports for the platform beside the workload's metrics."""

_TUNE = frozenset(
    [
        "checkpoint_dir_name",
        "date",
        "done",
        "experiment_tag",
        "hostname",
        "iterations_since_restore",
        "node_ip",
        "pid",
        "should_checkpoint",
        "time_since_restore",
        "time_this_iter_s",
        "time_total_s",
        "timestamp",
        "training_iteration",
        "trial_id",
    ]
)


def own_metrics(result: Mapping[str, Any]) -> dict[str, float]:
    """Leave the workload's metrics of a result, without bookkeeping, ours and Tune's."""
    names = (name for name in result if name not in BOOKKEEPING | _TUNE)
    return {name: float(result[name]) for name in names if isinstance(result[name], int | float)}


def comparable(value: float, objective: Objective) -> float:
    """Give the worst of all values for NaN, which a diverged run has: a ranking needs an order."""
    return -objective_sign(objective) * math.inf if math.isnan(value) else value


def objective_sign(objective: Objective) -> int:
    """1 where more is better, -1 where less is."""
    return 1 if objective.mode == "max" else -1


def best(reported: Iterable[tuple[T, Mapping[str, Any]]], objective: Objective) -> tuple[T, Mapping[str, Any]] | None:
    """Choose by the objective among things and the metrics they were reported with; of equals the first."""
    sign = objective_sign(objective)
    return max(reported, key=lambda pair: sign * pair[1][objective.metric], default=None)
