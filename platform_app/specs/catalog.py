"""The catalog: worker groups, tiers and prices. One reviewed file from which everything about capacity follows.

The local autoscaler's node types, the RayCluster's worker groups, the PriorityClasses and the price list are all
rendered from it. A *worker* is KubeRay's word: one pod there, one simulated Ray node here.
"""

from enum import StrEnum
from importlib.resources import files
from pathlib import Path
from typing import Self

import yaml
from pydantic import Field, model_validator

from platform_app.specs.base import Name, Spec


class Market(StrEnum):
    """How a worker is bought; the value of Ray's label `ray.io/market-type`."""

    SPOT = "spot"
    ON_DEMAND = "on-demand"


class WorkerGroup(Spec):
    """Workers that are alike, and how many there may be."""

    name: Name
    market: Market
    accelerator_type: str | None = None
    """Ray's label `ray.io/accelerator-type`, such as `A100`; absent on groups without GPUs."""
    cpus: int = Field(ge=1)
    gpus: int = Field(ge=0, default=0)
    memory_gib: float = Field(gt=0)
    min_workers: int = Field(ge=0, default=0)
    max_workers: int = Field(ge=1)
    idle_timeout_seconds: int = Field(ge=1, default=60)
    price_per_hour: float = Field(ge=0)
    """US dollars for one worker for one hour."""
    priority: int = 0
    """Which group Ray's autoscaler prefers when several fit: the higher one."""

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        if self.min_workers > self.max_workers:
            raise ValueError(f"min_workers {self.min_workers} is more than max_workers {self.max_workers}")
        return self


class Tier(Spec):
    """How important work is. The names and numbers are those of the Kubernetes PriorityClasses."""

    name: Name
    priority: int


class Catalog(Spec):
    """All worker groups and tiers of one platform."""

    worker_groups: tuple[WorkerGroup, ...] = Field(min_length=1)
    tiers: tuple[Tier, ...] = Field(min_length=1)
    spot_wait_seconds: int = Field(ge=1, default=60)
    """How long a worker that was asked for may stay away. Then its group counts as out of stock: it is set aside, and
    the next group that the job allows is asked. More than a node takes from the request until Ray runs on it, or no
    group would ever be in stock."""
    spot_retry_seconds: int = Field(ge=1, default=300)
    """How long a group that was set aside is asked only when no other will do; then it is preferred as before."""

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        for kind, names in (
            ("worker group", [group.name for group in self.worker_groups]),
            ("tier", [tier.name for tier in self.tiers]),
        ):
            if twice := {name for name in names if names.count(name) > 1}:
                raise ValueError(f"{kind} names must be unique; given twice: {', '.join(sorted(twice))}")
        return self

    def priority(self, tier: str) -> int:
        """Give a tier's priority. Raises KeyError for a tier that the catalog lacks."""
        return {known.name: known.priority for known in self.tiers}[tier]


def load_catalog(path: Path | None = None) -> Catalog:
    """Read a catalog file; without a path, the one that comes with Slipway.

    Raises:
        pydantic.ValidationError: the file is not a catalog; the error names each field.
    """
    source = path if path is not None else files("platform_app") / "catalog.yaml"
    return Catalog.model_validate(yaml.safe_load(source.read_text()))
