"""A deployment: what should serve, what serves, and what to do about the difference."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from platform_app.domain.rollout import Phase, Rollout
from platform_app.specs import DeploymentSpec

CHAMPION = "champion"
"""The alias of the version that leads."""
PREVIOUS = "previous"
"""The alias of the version that led before: the way back."""
CHALLENGER = "challenger"
"""The alias of a version that is to lead, once a rollout has shown that it may."""


class DeploymentState(StrEnum):
    """How far what serves is from what should serve."""

    DEPLOYING = "DEPLOYING"
    READY = "READY"
    FAILED = "FAILED"
    """The newest version does not serve; an older one may, and `served_version` says which."""
    DELETING = "DELETING"


class RevisionState(StrEnum):
    """What became of a revision."""

    APPLIED = "APPLIED"
    """It was handed to Serve, as the stable version or as a candidate."""
    SERVED = "SERVED"
    """It has answered as the stable version."""
    ROLLED_BACK = "ROLLED_BACK"


@dataclass(frozen=True)
class Revision:
    """A version with a spec that a deployment served, or tried to. Revisions outlive their deployment."""

    deployment: str
    number: int
    """Counts from 1, also when the deployment is deleted and made again."""
    model_version: int
    spec: DeploymentSpec
    created_at: datetime
    state: RevisionState = RevisionState.APPLIED


def next_number(revisions: Sequence[Revision]) -> int:
    """Give the number of a deployment's next revision."""
    return max((revision.number for revision in revisions), default=0) + 1


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
    """Model version that the stable replicas are to be."""
    revision: int = 0
    """Number of the stable revision; 0 where the spec is new and has none yet."""
    rollout: Rollout | None = None
    """The newest one, which may be over; None before the first."""
    served_version: int | None = None
    """Model version last seen answering; None before the first."""
    version: int = 1
    """Counts writes; the guard of every one."""

    @property
    def active_rollout(self) -> Rollout | None:
        """The rollout that is under way; None when there is none."""
        return self.rollout if self.rollout and not self.rollout.phase.is_over else None

    def in_rollout(self, rollout: Rollout, now: datetime) -> "Deployment":
        """Give this deployment with its rollout as it is now, and the stable version that a new phase decides."""
        changed = replace(self, rollout=rollout, updated_at=now)
        if self.rollout and (rollout.revision, rollout.phase) == (self.rollout.revision, self.rollout.phase):
            return changed
        changed = replace(changed, message=rollout.message)
        match rollout.phase:
            case Phase.PROMOTING:
                target, revision = rollout.candidate_version, rollout.revision
                return replace(changed, target_version=target, revision=revision, state=DeploymentState.DEPLOYING)
            case Phase.ROLLING_BACK:
                return replace(changed, target_version=rollout.stable_version, revision=rollout.stable_revision)
            case _:
                return changed
