"""Search spaces, search algorithms and trial schedulers of a sweep, in Ray Tune's words."""

import math
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from platform_app.specs.base import Spec

Scalar = str | int | float | bool


class _Range(Spec):
    low: float
    high: float

    @model_validator(mode="after")
    def _has_points(self) -> Self:
        if not (math.isfinite(self.low) and math.isfinite(self.high)):
            raise ValueError("low and high must be finite numbers")
        if self.low >= self.high:
            raise ValueError(f"low must be less than high; got low={self.low:g}, high={self.high:g}")
        return self


class Uniform(_Range):
    """A float, every value between low and high alike likely."""

    type: Literal["uniform"]


class LogUniform(_Range):
    """A float, every order of magnitude between low and high alike likely."""

    type: Literal["loguniform"]

    @model_validator(mode="after")
    def _is_positive(self) -> Self:
        if self.low <= 0:
            raise ValueError(f"low must be greater than 0 on a logarithmic scale; got {self.low:g}")
        return self


class Int(Spec):
    """A whole number from low to high, both included."""

    type: Literal["int"]
    low: int
    high: int

    @model_validator(mode="after")
    def _has_points(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low must not be more than high; got low={self.low}, high={self.high}")
        return self


class Choice(Spec):
    """One of the values, drawn by the search algorithm."""

    type: Literal["choice"]
    values: tuple[Scalar, ...] = Field(min_length=1)


class Grid(Spec):
    """Each of the values in turn: `num_samples` trials are run for every point of the grid."""

    type: Literal["grid"]
    values: tuple[Scalar, ...] = Field(min_length=1)


Dimension = Annotated[Uniform | LogUniform | Int | Choice | Grid, Field(discriminator="type")]


class Search(Spec):
    """How trials are drawn from the space."""

    algorithm: Literal["optuna", "random"] = "optuna"
    num_samples: int = Field(ge=1, le=10_000, default=8)
    """Trials; with grid dimensions, trials for each point of the grid."""
    max_concurrent: int = Field(ge=1, default=4)
    """Trials at one time, as far as the cluster has room."""
    seed: int | None = None


class Asha(Spec):
    """Stop the worse part of the trials at rungs (Li et al., *A System for Massively Parallel HPO*, 2020)."""

    type: Literal["asha"] = "asha"
    grace_period: int = Field(ge=1, default=1)
    """Epochs that every trial may run."""
    reduction_factor: float = Field(gt=1, default=3)


class Fifo(Spec):
    """Run every trial to its end."""

    type: Literal["fifo"] = "fifo"


Scheduler = Annotated[Asha | Fifo, Field(discriminator="type")]
