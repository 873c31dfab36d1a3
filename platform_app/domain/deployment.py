"""A deployment: what should serve, what serves, and what to do about the difference."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from platform_app.specs import DeploymentSpec


class DeploymentState(StrEnum):
    """How far what serves is from what should serve."""

    DEPLOYING = "DEPLOYING"
    READY = "READY"
    FAILED = "FAILED"
    """The newest version does not serve; an older one may, and `served_version` says which."""
    DELETING = "DELETING"


@dataclass(frozen=True)
class Deployment:
    """One served model, kept under a name. A store writes it back only where `version` is what was read."""

    name: str
    spec: DeploymentSpec
    created_at: datetime
    updated_at: datetime
    state: DeploymentState = DeploymentState.DEPLOYING
    message: str = ""
    target_version: int | None = None
    """Model version last handed to Serve."""
    applied_digest: str | None = None
    """Digest of the `ServedModel` last handed to Serve."""
    served_version: int | None = None
    """Model version last seen answering; None before the first."""
    version: int = 1
    """Counts writes; the guard of every one."""
