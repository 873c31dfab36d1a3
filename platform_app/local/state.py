"""Where a local cluster is and how to reach it: one small file in its home, written before anything starts.

The command line and the client read nothing else to find the API and its token. The file holds secrets, so it is
readable by its owner alone; it is replaced as a whole, so a reader never sees half of it.
"""

import hashlib
import os
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from platform_app.errors import PermanentError

HOST = "127.0.0.1"
"""Everything listens here and nowhere else."""

_FILE = "cluster.json"
_KEEPER_NOTE = "keeper.txt"


class Ports(BaseModel):
    """TCP ports of one cluster. Ray's other ports are chosen by its processes as they start."""

    model_config = ConfigDict(frozen=True)

    api: int = 8000
    mlflow: int = 5000
    dashboard: int = 8265
    gcs: int = 6379
    node_manager: int = 6380
    ray_client: int = 10001
    autoscaler_metrics: int = 44217
    dashboard_metrics: int = 44227
    haproxy_stats: int = 8404
    haproxy_metrics: int = 9101
    serve_fallback: int = 8500


class ClusterState(BaseModel):
    """One local cluster: its folders, its ports and its two secrets."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    cluster_id: str
    """In the environment of every process of the cluster; that is how they are found."""
    home: Path
    """Absolute folder that keeps what outlives the cluster."""
    started_at: datetime
    ports: Ports
    api_token: str
    """What a caller of the API sends as bearer."""
    ray_token: str
    """What Ray's processes and clients know one another by."""
    catalog: Path | None = None
    """File with the worker groups; None for the catalog that comes with Slipway."""
    haproxy: Path | None = None
    """The HAProxy that is the cluster's proxy; None for Ray Serve's own."""
    ready: bool = False
    """All components have answered once; False in the file of a start that was cut off."""

    @property
    def api_url(self) -> str:
        """Where the API answers."""
        return f"http://{HOST}:{self.ports.api}"

    @property
    def tracking_uri(self) -> str:
        """Where MLflow answers."""
        return f"http://{HOST}:{self.ports.mlflow}"

    @property
    def dashboard_url(self) -> str:
        """Where Ray's dashboard and its Jobs API answer."""
        return f"http://{HOST}:{self.ports.dashboard}"

    @property
    def ray_address(self) -> str:
        """Address of Ray's global control store, for drivers."""
        return f"{HOST}:{self.ports.gcs}"

    @property
    def storage(self) -> Path:
        """The shared filesystem: checkpoints, reports, packages."""
        return self.home / "storage"

    @property
    def logs(self) -> Path:
        """One file for each component; after a failed start also the logs of Ray's processes."""
        return self.home / "logs"

    @property
    def temp_dir(self) -> Path:
        """Ray's own folder."""
        return temp_dir(self.cluster_id)

    @property
    def market_dir(self) -> Path:
        """Where the simulated market is told what to do, and tells what there is."""
        return self.temp_dir / "market"

    @property
    def keeper_note(self) -> Path:
        """What the keeper says of itself, in one sentence; there while a keeper has begun."""
        return self.home / _KEEPER_NOTE

    def shell_environment(self) -> dict[str, str]:
        """Give the variables with which `slipway`, `ray job submit` and a plain driver find this cluster."""
        return {
            "SLIPWAY_URL": self.api_url,
            "SLIPWAY_TOKEN": self.api_token,
            "SLIPWAY_STORAGE": str(self.storage),
            "MLFLOW_TRACKING_URI": self.tracking_uri,
            "RAY_API_SERVER_ADDRESS": self.dashboard_url,
            **ray_client_environment(self.ray_token),
        }


def ray_client_environment(ray_token: str) -> dict[str, str]:
    """Give what every process that talks to the cluster's Ray needs, inside the cluster and outside."""
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": ray_token,
        # Ray's switch for "one machine only": nodes and drivers then use the loopback address, as on macOS, and
        # the cluster outlives a change of network.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    }


def resolve_home(home: Path | None = None) -> Path:
    """Give the home as an absolute path: the one named, else `$SLIPWAY_HOME`, else `.slipway` here."""
    return (home or Path(os.environ.get("SLIPWAY_HOME") or ".slipway")).expanduser().resolve()


def cluster_id(home: Path) -> str:
    """Name the one cluster that a home can have. It follows from the path, so that losing the file loses nothing."""
    return hashlib.sha256(str(home).encode()).hexdigest()[:10]


def temp_dir(cluster_id: str) -> Path:
    """Name Ray's folder. Its sockets allow paths of no more than 107 characters, so it is not below the home."""
    return Path("/tmp") / f"sw-{cluster_id}"  # noqa: S108 made with mode 0700, and refused when it is there


def read_state(home: Path) -> ClusterState | None:
    """Read the state of a home; None when no cluster was started there.

    Raises:
        PermanentError: the file is there and cannot be understood.
    """
    path = home / _FILE
    try:
        return ClusterState.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not a state of this version"
        raise PermanentError(f"cannot read {path}: {reason}. Delete it, then run `slipway down`.") from error


def find_state(home: Path | None = None) -> ClusterState | None:
    """Give the running cluster of a home; None when there is none, or it is still starting. Raises as `read_state`."""
    state = read_state(resolve_home(home))
    return state if state and state.ready else None


def write_state(state: ClusterState) -> None:
    """Write the state as a whole, for its owner alone."""
    path = state.home / _FILE
    aside = path.with_suffix(".new")
    aside.unlink(missing_ok=True)
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(state.model_dump_json(indent=2))
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)


def remove_state(home: Path) -> None:
    """Forget the cluster of a home."""
    for name in (_FILE, _KEEPER_NOTE):
        (home / name).unlink(missing_ok=True)
