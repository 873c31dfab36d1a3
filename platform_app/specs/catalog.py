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

_HAS_GPUS = "slipway.io/gpus"
"""Ray label of workers that have GPUs."""
ON_NO_GPU_NODE = {_HAS_GPUS: "!true"}
"""Label selector of what needs no GPU: GPU workers are too dear for it, and it must not wait for any that do not come,
which the autoscaler would pack it onto. Nodes without such labels fit too."""


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
    gpu_resource: str = Field(default="nvidia.com/gpu", pattern=r"^[a-z0-9.-]+/[A-Za-z0-9._-]+$")
    """What a pod asks Kubernetes for one GPU: `nvidia.com/gpu` (whole), `nvidia.com/gpu.shared` (time-sliced) or, of a
    MIG slice, such as `nvidia.com/mig-1g.10gb`."""
    tier: Name | None = None
    """The tier whose PriorityClass the group's pods have; absent: the lowest."""

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        if self.min_workers > self.max_workers:
            raise ValueError(f"min_workers {self.min_workers} is more than max_workers {self.max_workers}")
        # Two shares may be of one GPU, so the device plugin refuses a pod that asks for more than one.
        if self.gpu_resource.endswith(".shared") and self.gpus > 1:
            raise ValueError(f"a worker can have one share of a time-sliced GPU ({self.gpu_resource}); got {self.gpus}")
        return self

    @property
    def ray_labels(self) -> dict[str, str]:
        """The labels of its Ray nodes."""
        accelerator = {"ray.io/accelerator-type": self.accelerator_type} if self.accelerator_type else {}
        gpus = {_HAS_GPUS: "true"} if self.gpus else {}
        return {"ray.io/market-type": str(self.market), "ray.io/node-group": self.name, **accelerator, **gpus}


class Tier(Spec):
    """How important work is. The names and numbers are those of the Kubernetes PriorityClasses."""

    name: Name
    priority: int


class TeamNamespace(Spec):
    """A team's namespace on Kubernetes, and the most that Kubernetes lets its dedicated jobs hold there together.

    The team itself, its quota in the platform's queue and its tokens are the database's (`domain.team`).
    """

    name: Name
    max_gpus: int = Field(ge=0)
    """GPUs of one kind: whole ones, shared ones and each kind of MIG slice are counted for themselves."""
    max_cpus: int = Field(ge=1)
    max_memory_gib: int = Field(ge=1)
    max_jobs: int = Field(ge=1)
    """Dedicated jobs that exist at one time, the ended ones that are still kept included."""


class KubernetesTimes(Spec):
    """Times where workers are pods, which wait for machines and images: they take the place of the local ones."""

    idle_timeout_seconds: int = Field(ge=1, default=60)
    """How long a worker stays without work. The node goes later: by what the node autoscaler waits."""
    spot_wait_seconds: int = Field(ge=1, default=300)
    """As the catalog's. A GPU machine takes minutes to boot and to pull the image."""
    spot_retry_seconds: int = Field(ge=1, default=600)
    """As the catalog's."""
    drain_seconds: int = Field(ge=1, default=45)
    """How long a worker that is told to go has for a last checkpoint: AWS gives 120 seconds, AKS 30, GKE's spot nodes
    15, of which some are needed to end the processes."""


class Catalog(Spec):
    """All worker groups, tiers and teams' namespaces of one platform."""

    worker_groups: tuple[WorkerGroup, ...] = Field(min_length=1)
    tiers: tuple[Tier, ...] = Field(min_length=1)
    spot_wait_seconds: int = Field(ge=1, default=60)
    """How long a worker that was asked for may stay away. Then its group counts as out of stock: it is set aside, and
    the next group that the job allows is asked. More than a node takes from the request until Ray runs on it, or no
    group would ever be in stock."""
    spot_retry_seconds: int = Field(ge=1, default=300)
    """How long a group that was set aside is asked only when no other will do; then it is preferred as before."""
    overdue_seconds: int = Field(ge=1, default=3600)
    """How long a job may wait. Then it is served before others, its room is kept for it as it comes free, and it runs
    for as long before it makes room for a higher tier."""
    teams: tuple[TeamNamespace, ...] = ()
    """Those that have a namespace of their own."""
    kubernetes: KubernetesTimes = KubernetesTimes()

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        for kind, names in (
            ("worker group", [group.name for group in self.worker_groups]),
            ("tier", [tier.name for tier in self.tiers]),
            ("team", [team.name for team in self.teams]),
        ):
            if twice := {name for name in names if names.count(name) > 1}:
                raise ValueError(f"{kind} names must be unique; given twice: {', '.join(sorted(twice))}")
        return self

    @model_validator(mode="after")
    def _tiers_of_groups_are_known(self) -> Self:
        known = {tier.name for tier in self.tiers}
        for group in self.worker_groups:
            if group.tier is not None and group.tier not in known:
                raise ValueError(f"worker group {group.name}: no tier {group.tier}; known: {', '.join(sorted(known))}")
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
