"""What can be submitted: one training run, a sweep of them, or any command. A discriminated union on `kind`."""

import math
from enum import StrEnum
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import Field, JsonValue, StringConstraints, TypeAdapter, field_validator, model_validator

from platform_app.specs.base import ImportPath, Name, Spec
from platform_app.specs.search import (
    Asha,
    Dimension,
    Grid,
    HyperBand,
    PopulationBased,
    Scalar,
    Scheduler,
    Search,
)

Package = Annotated[str, StringConstraints(pattern=r"^package:[0-9a-f]{64}$")]
"""An uploaded working directory, named by the SHA-256 of its zip."""

V = TypeVar("V")

EnvName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_]\w*$")]


class Precision(StrEnum):
    """Arithmetic of the forward pass; `auto` takes bf16, else fp16 with loss scaling, where there is a GPU."""

    AUTO = "auto"
    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"


class MarketPolicy(StrEnum):
    """Which markets a job's workers may come from."""

    PREFER_SPOT = "prefer-spot"
    SPOT = "spot"
    ON_DEMAND = "on-demand"


class ClusterChoice(StrEnum):
    """Which Ray cluster a job runs on."""

    SHARED = "shared"
    """The one that the platform itself runs on."""
    DEDICATED = "dedicated"
    """One of its own, made for it on Kubernetes in its team's namespace."""


class WorkerResources(Spec):
    """Training workers, and what each of them holds."""

    num_workers: int | tuple[int, int] = 1
    """How many; `[min, max]` for a run that starts with what can be had, grows and shrinks."""
    gpus_per_worker: float = Field(ge=0, default=1)
    """Whole GPUs, or a fraction of one below 1 (several workers then share a GPU)."""
    cpus_per_worker: float = Field(gt=0, default=1)
    accelerator_type: str | None = None
    """Only workers with this accelerator, such as `A100`; absent: any."""
    market: MarketPolicy = MarketPolicy.PREFER_SPOT

    @property
    def min_workers(self) -> int:
        """Workers without which it does not run."""
        return self.num_workers if isinstance(self.num_workers, int) else self.num_workers[0]

    @property
    def max_workers(self) -> int:
        """Workers that it uses when it can have them."""
        return self.num_workers if isinstance(self.num_workers, int) else self.num_workers[1]

    @property
    def is_elastic(self) -> bool:
        """Whether a run may change its number of workers."""
        return self.min_workers < self.max_workers

    @field_validator("num_workers", mode="before")
    @classmethod
    def _count_or_range(cls, value: object) -> object:
        # Said here in one sentence; pydantic would complain of each member of the union.
        counts: list[Any] = list(value) if isinstance(value, list | tuple) and len(value) == 2 else [value]
        if not all(isinstance(count, int) and not isinstance(count, bool) and count >= 1 for count in counts):
            raise ValueError(f"expected an integer from 1, or [min, max]; got {value!r}")
        if counts[0] > counts[-1]:
            raise ValueError(f"min {counts[0]} is more than max {counts[-1]}: write [{counts[-1]}, {counts[0]}]")
        return value

    @field_validator("gpus_per_worker")
    @classmethod
    def _whole_or_fraction(cls, value: float) -> float:
        if value > 1 and not value.is_integer():
            raise ValueError(f"more than one GPU must be a whole number; got {value:g}, take {math.ceil(value)}")
        return value


class Objective(Spec):
    """What "best" means: a metric that the workload reports, and which way is better."""

    metric: str = Field(min_length=1)
    mode: Literal["min", "max"]


class Checkpointing(Spec):
    """When to write checkpoints, and how many to keep. The best by the objective is always kept.

    One is written whenever any of the intervals has passed, at a notice of preemption, and after the last epoch.
    """

    every_epochs: int = Field(ge=1, default=1)
    every_steps: int | None = Field(ge=1, default=None)
    every_seconds: float | None = Field(gt=0, default=None)
    num_to_keep: int = Field(ge=1, default=2)
    max_failures: int = Field(ge=0, default=3)
    """Checkpoints in a row that may fail (a full disk, a filesystem that is away) before the job fails."""


class _JobSpec(Spec):
    """What all kinds of jobs share."""

    name: Name
    tier: Name = "development"
    cluster: ClusterChoice = ClusterChoice.SHARED
    team: Name | None = None
    """Whose job it is; one with `cluster: dedicated` runs in this team's namespace."""
    experiment: str = Field(min_length=1, max_length=200, default="slipway")
    """MLflow experiment."""
    working_dir: Package | None = None
    git_commit: str | None = Field(pattern=r"^[0-9a-f]{40}(-dirty)?$", default=None)
    """Of the working directory; the client says it where there is one. `-dirty`: with changes that are in no commit."""
    env_vars: dict[EnvName, str] = {}
    pip: tuple[str, ...] = ()
    """Requirements that Ray installs for this job on every worker."""
    deadline_seconds: float | None = Field(gt=0, default=None)
    """How long it may run, all attempts together; then it is stopped, and fails. What it saved by then stays."""


class _TrainingSpec(_JobSpec):
    """What a training run and a sweep share."""

    workload: ImportPath | None = None
    """`module:attr` of a function `config -> jobs.workload.Workload`; runs in the training worker."""
    config: dict[str, Scalar] = {}
    """Hyperparameters, passed to the workload as they are."""
    epochs: int = Field(ge=1, default=10)
    batch_size: int = Field(ge=1, default=128)
    """Samples of one optimizer step over all workers together."""
    precision: Precision = Precision.AUTO
    seed: int = Field(ge=0, default=0)
    objective: Objective = Objective(metric="loss", mode="min")
    resources: WorkerResources = WorkerResources()
    checkpointing: Checkpointing = Checkpointing()
    max_failures: int = Field(ge=0, le=100, default=2)
    """Times that the user's own code may fail and be tried again from the last checkpoint; preemptions do not count."""
    registered_model: Name | None = None
    """MLflow registered model to which the best checkpoint is added as a new version."""

    @field_validator("env_vars")
    @classmethod
    def _not_ours(cls, value: dict[str, str]) -> dict[str, str]:
        return _without(value, "SLIPWAY_", "RAY_")

    @model_validator(mode="after")
    def _a_sample_for_every_worker(self) -> Self:
        if self.workload and self.batch_size < self.resources.max_workers:
            raise ValueError(
                f"batch_size {self.batch_size} leaves some of {self.resources.max_workers} workers without a sample; "
                f"take at least {self.resources.max_workers}"
            )
        return self


class TrainSpec(_TrainingSpec):
    """One training run: distributed data parallel over `resources.num_workers` workers."""

    kind: Literal["train"] = "train"
    train_loop: ImportPath | None = None
    """`module:function` of a plain Ray Train loop, instead of a workload; it gets `config` and does the rest."""

    @model_validator(mode="after")
    def _one_kind_of_code(self) -> Self:
        if (self.workload is None) == (self.train_loop is None):
            raise ValueError("give exactly one of workload and train_loop")
        if self.train_loop and self.registered_model:
            raise ValueError(
                "registered_model needs a workload; "
                "a train_loop calls mlflow's log_model(registered_model_name=...) itself"
            )
        return self


class SweepSpec(_TrainingSpec):
    """Many training runs of one workload over a search space; each trial has `resources.num_workers` workers."""

    kind: Literal["sweep"]
    space: dict[str, Dimension] = Field(min_length=1)
    """Hyperparameters to search; each value goes to the workload's config under its name."""
    search: Search = Search()
    scheduler: Scheduler = Asha()

    @model_validator(mode="after")
    def _can_be_searched(self) -> Self:
        if self.workload is None:
            raise ValueError("a sweep needs a workload (module:attr)")
        if not isinstance(self.resources.num_workers, int):
            low, high = self.resources.num_workers
            raise ValueError(
                f"every trial of a sweep has the same number of workers: num_workers must be one number; "
                f"got [{low}, {high}], take {low}"
            )
        if twice := sorted(self.space.keys() & self.config.keys()):
            raise ValueError(f"given both in space and in config: {', '.join(twice)}")
        grid = sorted(name for name, dimension in self.space.items() if isinstance(dimension, Grid))
        if grid and self.search.algorithm == "optuna":
            raise ValueError(
                f"optuna does not walk a grid ({', '.join(grid)}): use type: choice, or search.algorithm: random"
            )
        return self

    @model_validator(mode="after")
    def _can_be_scheduled(self) -> Self:
        kind = self.scheduler.type
        if isinstance(self.scheduler, PopulationBased):
            if self.search.algorithm != "random" or any(isinstance(each, Grid) for each in self.space.values()):
                raise ValueError("pbt explores the space itself: use search.algorithm: random, and no grid in space")
            if self.search.num_samples < 2:
                raise ValueError("pbt needs a population: search.num_samples must be at least 2")
        if isinstance(self.scheduler, HyperBand | PopulationBased):
            if self.num_trials > self.search.max_concurrent:
                raise ValueError(
                    f"the trials of {kind} wait for each other: "
                    f"search.max_concurrent must be at least {self.num_trials}; got {self.search.max_concurrent}"
                )
            if self.checkpointing.every_epochs != 1:
                raise ValueError(
                    f"{kind} pauses trials after any epoch: "
                    f"checkpointing.every_epochs must be 1; got {self.checkpointing.every_epochs}"
                )
        return self

    @property
    def num_trials(self) -> int:
        """How many trials the sweep runs: samples times points of the grid."""
        points = math.prod(len(d.values) for d in self.space.values() if isinstance(d, Grid))
        return self.search.num_samples * points


class CommandSpec(_JobSpec):
    """Any command, as `ray job submit -- python train.py` sends it: what it holds is what it declares here.

    It runs on a worker of the cluster, never on the head, and is run again from its beginning after a preemption.
    """

    kind: Literal["command"]
    cluster: Literal[ClusterChoice.SHARED] = ClusterChoice.SHARED
    entrypoint: str = Field(min_length=1, max_length=100_000)
    """A line for the shell, run in the working directory."""
    driver: WorkerResources = WorkerResources(gpus_per_worker=0)
    """What the command itself holds: one worker."""
    driver_memory: int | None = Field(ge=1, default=None)
    """Bytes that Ray sets aside for the command; absent: none."""
    workers: WorkerResources | None = None
    """What the command asks of Ray while it runs, for its tasks, actors and placement groups; absent: nothing."""
    metadata: dict[str, str] = {}
    """Kept with the job, and given back as it came."""
    runtime_env: dict[str, JsonValue] = {}
    """Ray's runtime environment, beside what `working_dir`, `env_vars` and `pip` say."""
    packages: dict[str, Package] = {}
    """What the `gcs://` names in `runtime_env` stood for when the job was submitted."""

    @property
    def resources(self) -> WorkerResources:
        """What most of its workers hold: those that it asks for, else the command itself."""
        return self.workers or self.driver

    @field_validator("env_vars")
    @classmethod
    def _variables(cls, value: dict[str, str]) -> dict[str, str]:
        return _without(value, "SLIPWAY_")

    @field_validator("runtime_env")
    @classmethod
    def _of_rays_form(cls, value: dict[str, JsonValue]) -> dict[str, JsonValue]:
        variables, modules = value.get("env_vars") or {}, value.get("py_modules") or []
        if not isinstance(variables, dict) or not all(isinstance(one, str) for one in variables.values()):
            raise ValueError(f"env_vars: expected a mapping of names to strings; got {variables!r}")
        if not isinstance(modules, list) or not all(isinstance(one, str) for one in modules):
            raise ValueError(f"py_modules: expected a list of URIs; got {modules!r}")
        _without(variables, "SLIPWAY_")
        return value

    @field_validator("driver", "workers")
    @classmethod
    def _of_one_size(cls, value: WorkerResources | None) -> WorkerResources | None:
        if value and value.is_elastic:
            raise ValueError(
                f"a command cannot be told to shrink: num_workers must be one number; got {value.num_workers}"
            )
        return value

    @model_validator(mode="after")
    def _one_driver(self) -> Self:
        if self.driver.num_workers != 1:
            raise ValueError(f"driver.num_workers must be 1, for the command runs once; got {self.driver.num_workers}")
        return self


def _without(variables: dict[str, V], *ours: str) -> dict[str, V]:
    """Give variables none of which has a name of the platform's. Raises ValueError."""
    if reserved := sorted(name for name in variables if name.startswith(ours)):
        raise ValueError(f"names that begin with {' or '.join(ours)} are the platform's: {', '.join(reserved)}")
    return variables


AnyJobSpec = TrainSpec | SweepSpec | CommandSpec
JobSpec = Annotated[AnyJobSpec, Field(discriminator="kind")]
job_spec_adapter: TypeAdapter[AnyJobSpec] = TypeAdapter(JobSpec)
