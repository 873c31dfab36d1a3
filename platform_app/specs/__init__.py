"""What a user wants, as frozen values: the hub that everything else turns around.

The same classes are the HTTP body, the CLI's YAML, the notebook's object, a job's `--spec` and the argument of
the serving application's builder. They import nothing of ours, and `jobs/` and `serve/` import nothing but them.
"""

from platform_app.specs.base import Name, Spec, digest
from platform_app.specs.catalog import Catalog, KubernetesTimes, Market, TeamNamespace, Tier, WorkerGroup, load_catalog
from platform_app.specs.jobs import (
    AnyJobSpec,
    Checkpointing,
    ClusterChoice,
    CommandSpec,
    JobSpec,
    MarketPolicy,
    Objective,
    Precision,
    SweepSpec,
    TrainSpec,
    WorkerResources,
    job_spec_adapter,
)
from platform_app.specs.report import (
    AttemptReport,
    AttemptStatus,
    FailureCause,
    Grant,
    Interruption,
    Progress,
    grant_path,
    report_path,
    run_dir,
)
from platform_app.specs.search import Asha, Dimension, Fifo, Search
from platform_app.specs.serving import BatchingSpec, DeploymentSpec, PromotionSpec, ServedModel
from platform_app.specs.teams import Overuse, Quota, Role, TokenSpec

__all__ = [
    "AnyJobSpec",
    "Asha",
    "AttemptReport",
    "AttemptStatus",
    "BatchingSpec",
    "Catalog",
    "Checkpointing",
    "ClusterChoice",
    "CommandSpec",
    "DeploymentSpec",
    "Dimension",
    "FailureCause",
    "Fifo",
    "Grant",
    "Interruption",
    "JobSpec",
    "KubernetesTimes",
    "Market",
    "MarketPolicy",
    "Name",
    "Objective",
    "Overuse",
    "Precision",
    "Progress",
    "PromotionSpec",
    "Quota",
    "Role",
    "Search",
    "ServedModel",
    "Spec",
    "SweepSpec",
    "TeamNamespace",
    "Tier",
    "TokenSpec",
    "TrainSpec",
    "WorkerGroup",
    "WorkerResources",
    "digest",
    "grant_path",
    "job_spec_adapter",
    "load_catalog",
    "report_path",
    "run_dir",
]
