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


class HyperBand(Spec):
    """Halve brackets of trials again and again, each bracket with another patience (Li et al., *Hyperband*, 2018).

    The trials of a bracket wait for each other, paused, so all of them must be allowed to run at one time.
    """

    type: Literal["hyperband"] = "hyperband"
    reduction_factor: float = Field(gt=1, default=3)


class MedianStopping(Spec):
    """Stop a trial whose best is worse than the median of the others' averages (Golovin et al., *Vizier*, 2017)."""

    type: Literal["median"] = "median"
    grace_period: int = Field(ge=1, default=1)
    """Epochs that every trial may run."""
    min_samples_required: int = Field(ge=1, default=3)
    """Other trials without which there is no median."""


class PopulationBased(Spec):
    """Train all trials side by side; the worst go on from the best (Jaderberg et al., *PBT*, 2017).

    One that goes on from another takes over its weights and its hyperparameters, some of them changed by a fifth or
    drawn anew, within the bounds of the space. The optimizer goes on with the changed ones.
    """

    type: Literal["pbt"] = "pbt"
    perturbation_interval: int = Field(ge=1, default=1)
    """Epochs between two comparisons of a trial with the others."""
    quantile_fraction: float = Field(gt=0, le=0.5, default=0.25)
    """Share of the trials that goes on from as many of the best."""
    resample_probability: float = Field(ge=0, le=1, default=0.25)
    """That a hyperparameter is drawn anew, rather than changed."""


Scheduler = Annotated[Asha | HyperBand | MedianStopping | PopulationBased | Fifo, Field(discriminator="type")]
