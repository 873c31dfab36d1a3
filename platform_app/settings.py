"""Configuration of the control plane, read from the environment (`SLIPWAY_…`) by the entry points and passed down."""

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from platform_app.manifests.workers import CUDA_IMAGE, IMAGE


class Settings(BaseSettings):
    """Where the control plane keeps things and how it is reached. Constructed in an entry point, never at import."""

    model_config = SettingsConfigDict(env_prefix="SLIPWAY_", frozen=True, use_attribute_docstrings=True)

    database_url: str
    """SQLAlchemy URL: `sqlite:////absolute/path` or `postgresql+psycopg://…`."""
    storage: str = Field(pattern=r"^/")
    """Absolute path of the shared filesystem, the same on every node."""
    tracking_uri: str
    """MLflow, as reached from the cluster."""
    token_digests: tuple[str, ...] = Field(min_length=1)
    """SHA-256 (hexadecimal) of the first admins' tokens, as a JSON list; they let in whatever becomes of the database.
    Every other token is made by `slipway tokens add`."""
    ray_dashboard_url: str = "http://127.0.0.1:8265"
    http_host: str = "127.0.0.1"
    """What Serve listens on; `0.0.0.0` in a pod."""
    http_port: int = Field(ge=1, le=65535, default=8000)
    grpc_port: int | None = Field(ge=1, le=65535, default=None)
    """Where models answer by gRPC, the Open Inference Protocol's service; absent: nowhere."""
    catalog: Path | None = None
    """A catalog file; absent: the one that comes with Slipway."""
    package_limit_bytes: int = Field(ge=1, default=256 * 1024 * 1024)
    """Largest working directory (zipped) that is taken: 256 MiB."""
    kubernetes: Literal["none", "in-cluster", "kubeconfig"] = "none"
    """How Kubernetes is reached for jobs with clusters of their own; `none`: there are no such jobs."""
    kubeconfig: Path | None = None
    """A kubeconfig; absent: `KUBECONFIG`, else `~/.kube/config`."""
    kube_context: str | None = None
    """Context of the kubeconfig; absent: its current one."""
    ray_image: str = IMAGE
    """Image of dedicated clusters' heads and workers without GPUs: the platform's own, for Ray must be the same."""
    ray_cuda_image: str = CUDA_IMAGE
    """Image of dedicated clusters' workers with GPUs."""
    kueue_queue: str | None = None
    """Kueue's LocalQueue in each team's namespace; absent: dedicated jobs go through no queue but the platform's."""
    market_dir: Path | None = None
    """Folder of the simulated spot market, on a laptop; absent: workers are bought in a real one."""
    tick_seconds: float = Field(gt=0, default=0.5)
    """Pause between two passes of the reconciler."""
