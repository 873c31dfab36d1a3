"""Lists of what the platform answers, as a notebook wants them: a table to look at, a pandas frame to work with."""

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Generic, TypeVar

from platform_app.display import View, chart, table, views_table
from platform_app.errors import FieldProblem, InvalidRequest, NotFound
from platform_app.specs import Objective
from platform_app.views import TrialView

if TYPE_CHECKING:
    import pandas as pd  # type: ignore[import-untyped]  # it has no types of its own

V = TypeVar("V", bound=View)


class Table(tuple[V, ...], Generic[V]):
    """Views, one a row."""

    __slots__ = ()

    def to_pandas(self) -> "pd.DataFrame":
        """Give a frame with a column for each field; those of a mapping are columns `field.name`."""
        import pandas as pd

        return pd.json_normalize([view.model_dump() for view in self])

    def _repr_html_(self) -> str:
        return views_table(self) if self else "<i>nothing</i>"


class Trials(Table[TrialView]):
    """A sweep's trials, oldest first, and by what they are compared."""

    objective: Objective | None

    def __new__(cls, trials: Iterable[TrialView], objective: Objective | None) -> "Trials":
        """Put them together."""
        made = super().__new__(cls, trials)
        made.objective = objective
        return made

    def best(self, objective: Objective | None = None) -> TrialView:
        """Give the trial whose metric is best.

        Args:
            objective: what best means; None for what the sweep's spec says. A command's trials need one.

        Raises:
            NotFound: no trial has reported the metric yet.
            InvalidRequest: nothing says what best means.
        """
        if (wanted := objective or self.objective) is None:
            raise InvalidRequest(FieldProblem("objective", "a command has none: say which metric, and min or max"))
        return self[self._best(wanted)]

    def to_pandas(self) -> "pd.DataFrame":
        """Give a frame: trial, status, hyperparameters and metrics as numbers, and the seconds that each took."""
        import pandas as pd

        return pd.DataFrame(
            [
                {
                    "trial": trial.name,
                    "status": trial.status,
                    **{name: _number(value) for name, value in trial.params.items()},
                    **trial.metrics,
                    "seconds": (trial.ended_at - trial.started_at).total_seconds() if trial.ended_at else None,
                    "run_id": trial.run_id,
                }
                for trial in self
            ]
        )

    def _values(self, objective: Objective) -> list[tuple[int, float]]:
        """Give the number of each trial that has reported a finite value, and the value."""
        told = ((number, trial.metrics.get(objective.metric, math.nan)) for number, trial in enumerate(self))
        return [(number, value) for number, value in told if math.isfinite(value)]

    def _best(self, objective: Objective) -> int:
        if not (values := self._values(objective)):
            raise NotFound(f"no trial has reported {objective.metric} yet")
        return (max if objective.mode == "max" else min)(values, key=lambda one: one[1])[0]

    def _repr_html_(self) -> str:
        if self.objective is None or not (values := self._values(self.objective)):
            return super()._repr_html_()
        best = self._best(self.objective)
        drawn = chart(
            [value for _, value in values], [number for number, _ in values].index(best), self.objective.metric
        )
        columns = ["trial", "status", "params", "metrics"]
        return drawn + table(columns, [[one.name, one.status, one.params, one.metrics] for one in self], marked=best)


def _number(text: str) -> float | int | str:
    """Read a hyperparameter, which MLflow keeps as text, as the number that it was."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
