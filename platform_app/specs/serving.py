"""What serves a model, and which version leads."""

from typing import Self

from pydantic import Field, model_validator

from platform_app.specs.base import Name, Spec


class DeploymentSpec(Spec):
    """Desired serving of a registered model: the version that an MLflow alias names, kept up to date."""

    model: Name
    alias: str = Field(pattern=r"^[A-Za-z][\w-]*$", max_length=64, default="champion")
    cpus_per_replica: float = Field(gt=0, default=1)
    gpus_per_replica: float = Field(ge=0, default=0)
    min_replicas: int = Field(ge=0, default=1)
    """0 lets the deployment scale to zero; a request then waits for a replica to start."""
    max_replicas: int = Field(ge=1, le=1000, default=1)
    target_ongoing_requests: float = Field(gt=0, default=8)
    """Requests in work per replica at which Serve adds a replica."""
    scale_down_delay_seconds: float = Field(ge=0, default=300)

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        if self.min_replicas > self.max_replicas:
            raise ValueError(f"min_replicas {self.min_replicas} is more than max_replicas {self.max_replicas}")
        return self


class PromotionSpec(Spec):
    """Which version becomes `champion`; without one, the newest."""

    version: int | None = Field(ge=1, default=None)


class ServedModel(Spec):
    """The argument of the serving application's builder: one pinned version of one deployment."""

    deployment: Name
    spec: DeploymentSpec
    version: int = Field(ge=1)
    tracking_uri: str
    token_digests: tuple[str, ...]
    """SHA-256 (hexadecimal) of the API tokens that may ask for predictions."""
