"""Models: where their versions are kept, and what serves them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from platform_app.domain.rollout import Scores
from platform_app.serving_views import OriginView
from platform_app.specs import ServedModel, SplitCounts
from platform_app.views import ModelVersionView, ModelView, TrialView


class ModelRegistry(Protocol):
    """Registered models, their versions and aliases, and the runs of sweeps: MLflow's."""

    def models(self) -> Sequence[ModelView]:
        """List registered models, by name."""
        ...

    def versions(self, name: str) -> Sequence[ModelVersionView] | None:
        """List versions, newest first; None when there is no such model."""
        ...

    def resolve(self, name: str, alias: str) -> int | None:
        """Give the version that an alias names; None when the model or the alias is not there."""
        ...

    def set_alias(self, name: str, alias: str, version: int | None) -> None:
        """Point an alias at a version; None takes the alias away. Raises NotFound for a version that is not there."""
        ...

    def origin(self, name: str, version: int) -> OriginView | None:
        """Say what made a version; None when there is no such version."""
        ...

    def trials(self, experiment: str, job_id: str) -> Sequence[TrialView]:
        """List a sweep's trials, oldest first."""
        ...


@dataclass(frozen=True)
class ServingObservation:
    """What Serve says of one deployment's application."""

    ready: bool
    """All stable replicas are what was applied last."""
    failed: bool
    message: str = ""
    candidate_ready: bool = False
    candidate_failed: bool = False
    candidate_message: str = ""


class ModelServing(Protocol):
    """Where deployments answer."""

    def apply(self, model: ServedModel) -> None:
        """Make the deployment's application serve this version; returns before it does. Same input: no change."""
        ...

    def observe(self) -> Mapping[str, ServingObservation]:
        """Say how each deployment's application is, by deployment name."""
        ...

    def counts(self, model: ServedModel) -> Sequence[SplitCounts]:
        """Give what the stable replicas have counted of a candidate so far; nothing where none has told yet."""
        ...

    def examine(self, model: ServedModel) -> Scores | None:
        """Let a worker evaluate candidate and champion on the spec's dataset, and give the scores once they are there.

        Asking again does not begin again.

        Raises:
            TemporaryError: Ray is away.
        """
        ...

    def delete(self, deployment: str) -> None:
        """Stop serving; nothing happens when it is gone already."""
        ...


@dataclass(frozen=True)
class Prediction:
    """What a deployment answered to plain rows."""

    status: int
    """HTTP's: 200 with a body, or why there is none."""
    body: bytes
    message: str
    """A sentence for the caller, where there is no body."""
    headers: Mapping[str, str]
    """Which deployment and version answered."""


class ModelPredictions(Protocol):
    """Deployments, asked by the control plane itself."""

    async def predict(self, deployment: str, rows: bytes, headers: Sequence[tuple[bytes, bytes]]) -> Prediction:
        """Ask a deployment that is there; waits for a replica where it is scaled to zero.

        Args:
            deployment: its name.
            rows: the body.
            headers: the caller's, names in lower case: they may name one of several models, or a key of an A/B test.

        Raises:
            TemporaryError: it does not answer.
        """
        ...
