"""What the platform needs of the outside: few verbs each. Fakes and adapters pass the same contract tests.

"Not there" is a value (None or absence), never an error; stopping and deleting twice is the same as once. A library's
own errors become `TemporaryError` (away: try again) or `PermanentError` (refused) at the boundary.
"""

from platform_app.ports.models import ModelPredictions, ModelRegistry, ModelServing, Prediction, ServingObservation
from platform_app.ports.runners import (
    Cluster,
    HeldGpus,
    JobRunner,
    RayJobObservation,
    RayJobRequest,
    RayJobStatus,
    WaitingSigns,
)
from platform_app.ports.storage import Storage
from platform_app.ports.stores import Clock, DeploymentStore, JobFilter, JobStore, Lease, TeamStore

__all__ = [
    "Clock",
    "Cluster",
    "DeploymentStore",
    "HeldGpus",
    "JobFilter",
    "JobRunner",
    "JobStore",
    "Lease",
    "ModelPredictions",
    "ModelRegistry",
    "ModelServing",
    "Prediction",
    "RayJobObservation",
    "RayJobRequest",
    "RayJobStatus",
    "ServingObservation",
    "Storage",
    "TeamStore",
    "WaitingSigns",
]
