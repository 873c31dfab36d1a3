"""What a local cluster is made of, as values: the command, the environment and the sign of readiness of each part."""

import hashlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from platform_app.launch import JOB_ENV, stock_out_env
from platform_app.local.autoscaler import HEAD, OBJECT_STORE_BYTES
from platform_app.local.haproxy import ingress_environment
from platform_app.local.network import accepts
from platform_app.local.processes import mark
from platform_app.local.state import HOST, ClusterState, ray_client_environment
from platform_app.specs import Catalog

MLFLOW, RAY, CONTROL_PLANE, KEEPER = "MLflow", "Ray", "control plane", "keeper"
"""Names of the components."""

_RAY_ENV = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_enable_autoscaler_v2": "1",
    "RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": "2",
    "AUTOSCALER_UPDATE_INTERVAL_S": "1",
    # A node whose process was killed is missed five times before it counts as dead: after 5 seconds, not 15.
    "RAY_health_check_period_ms": "1000",
    # The autoscaler pairs Ray's nodes with its instances by these.
    "RAY_CLOUD_INSTANCE_ID": HEAD,
    "RAY_NODE_TYPE_NAME": HEAD,
}

_MLFLOW_ENV = {
    # It evaluates language models; without it the server starts in half the time.
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}

_OTHER_CLUSTERS = ("RAY_", "MLFLOW_", "SLIPWAY_URL", "SLIPWAY_TOKEN", "SLIPWAY_HOME")


@dataclass(frozen=True)
class Component:
    """One part of the cluster."""

    name: str
    command: tuple[str, ...]
    env: Mapping[str, str]
    ready: Callable[[], bool]
    """Whether it answers; asked again and again while it starts."""
    needs: tuple[str, ...] = ()
    """Components that must be ready before it is started."""
    stays: bool = False
    """The command runs as long as the cluster; otherwise it ends with 0 when it has done its part."""
    ports: tuple[int, ...] = ()
    """Where it listens as long as it lives. A port that refuses says that it is gone."""
    within: str = ""
    """The component that it runs in, and ends with."""

    @property
    def log_name(self) -> str:
        """File name of its output."""
        return f"{self.name.lower().replace(' ', '-')}.log"


def components(
    state: ClusterState,
    inherited: Mapping[str, str],
    catalog: Catalog,
    control_plane: Sequence[str],
) -> tuple[Component, ...]:
    """Say what to start.

    Args:
        state: folders, ports and secrets.
        inherited: the environment of `slipway up`.
        catalog: the worker groups.
        control_plane: the command that deploys the control plane to the cluster and ends.
    """
    common = _common_env(state, inherited)
    ports = state.ports
    return (
        Component(
            name=MLFLOW,
            command=_mlflow_command(state),
            env={**common, **_MLFLOW_ENV, **mark(state.cluster_id, MLFLOW)},
            ready=lambda: answers(f"{state.tracking_uri}/health"),
            stays=True,
            ports=(ports.mlflow,),
        ),
        Component(
            name=RAY,
            command=_ray_command(state),
            env={**common, **_head_env(state, catalog), **mark(state.cluster_id, RAY)},
            ready=lambda: accepts(ports.dashboard) and _autoscaler_runs(state),
            # Of its global control store, its head node, its dashboard and its autoscaler. None of them comes back.
            ports=(ports.gcs, ports.node_manager, ports.dashboard, ports.autoscaler_metrics),
        ),
        Component(
            name=CONTROL_PLANE,
            command=tuple(control_plane),
            env={**common, **_control_plane_env(state), **mark(state.cluster_id, CONTROL_PLANE)},
            ready=lambda: answers(f"{state.api_url}/readyz"),
            needs=(MLFLOW, RAY),
            within=RAY,
        ),
        Component(
            name=KEEPER,
            command=(sys.executable, "-m", "platform_app.local.keeper", str(state.home), *control_plane),
            env={**common, **mark(state.cluster_id, KEEPER)},
            ready=state.keeper_note.exists,
            needs=(CONTROL_PLANE,),
            stays=True,
        ),
    )


def health(state: ClusterState) -> dict[str, bool]:
    """Say which parts of a cluster answer now, by the name of the component."""
    return {
        "API": answers(f"{state.api_url}/readyz"),
        "MLflow": answers(f"{state.tracking_uri}/health"),
        "Ray": accepts(state.ports.gcs) and accepts(state.ports.dashboard),
    }


def answers(url: str) -> bool:
    """Say whether a GET of a URL gives 200 within 5 seconds."""
    try:
        return httpx.get(url, timeout=5.0, trust_env=False).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def _common_env(state: ClusterState, inherited: Mapping[str, str]) -> dict[str, str]:
    kept = {key: value for key, value in inherited.items() if not key.startswith(_OTHER_CLUSTERS)}
    return {
        **kept,
        **ray_client_environment(state.ray_token),
        **ingress_environment(state),
        # Jobs name their program `python`: the one that Slipway is installed for.
        "PATH": f"{Path(sys.executable).parent}:{kept.get('PATH', '')}",
        # A job that someone submits straight to Ray inherits these from the head.
        "MLFLOW_TRACKING_URI": state.tracking_uri,
        "SLIPWAY_STORAGE": str(state.storage),
        "PYTHONUNBUFFERED": "1",
    }


def _head_env(state: ClusterState, catalog: Catalog) -> dict[str, str]:
    return {
        **_RAY_ENV,
        **stock_out_env(catalog.spot_wait_seconds, catalog.spot_retry_seconds),
        **JOB_ENV,
        "AUTOSCALER_METRIC_PORT": str(state.ports.autoscaler_metrics),
        "DASHBOARD_METRIC_PORT": str(state.ports.dashboard_metrics),
    }


def _mlflow_command(state: ClusterState) -> tuple[str, ...]:
    folder = state.home / "mlflow"
    return (
        *(sys.executable, "-m", "mlflow", "server"),
        *("--host", HOST, "--port", str(state.ports.mlflow), "--workers", "1"),
        *("--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"),
        *("--artifacts-destination", str(folder / "artifacts")),
    )


def _ray_command(state: ClusterState) -> tuple[str, ...]:
    return (
        *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head"),
        f"--port={state.ports.gcs}",
        f"--node-manager-port={state.ports.node_manager}",
        f"--dashboard-host={HOST}",
        f"--dashboard-port={state.ports.dashboard}",
        f"--ray-client-server-port={state.ports.ray_client}",
        # 0: each process takes a free port as it starts.
        *("--dashboard-agent-listen-port=0", "--min-worker-port=0", "--max-worker-port=0"),
        *("--num-cpus=0", "--num-gpus=0", f"--object-store-memory={OBJECT_STORE_BYTES}"),
        f"--temp-dir={state.temp_dir}",
        f"--autoscaling-config={autoscaling_file(state)}",
    )


def autoscaling_file(state: ClusterState) -> Path:
    """Give the path of the autoscaler's configuration, which it reads again before each of its decisions."""
    return state.temp_dir / "autoscaling.json"


def _control_plane_env(state: ClusterState) -> dict[str, str]:
    return {
        "RAY_ADDRESS": state.ray_address,
        "SLIPWAY_DATABASE_URL": f"sqlite:///{state.home / 'slipway.db'}",
        "SLIPWAY_TRACKING_URI": state.tracking_uri,
        "SLIPWAY_TOKEN_DIGESTS": json.dumps([hashlib.sha256(state.api_token.encode()).hexdigest()]),
        "SLIPWAY_RAY_DASHBOARD_URL": state.dashboard_url,
        "SLIPWAY_MARKET_DIR": str(state.market_dir),
        "SLIPWAY_HTTP_HOST": HOST,
        "SLIPWAY_HTTP_PORT": str(state.ports.api),
        **({"SLIPWAY_CATALOG": str(state.catalog)} if state.catalog else {}),
    }


def _autoscaler_runs(state: ClusterState) -> bool:
    # `ray start` succeeds without an autoscaler too; this number exists once it has decided for the first time.
    try:
        metrics = httpx.get(f"http://{HOST}:{state.ports.autoscaler_metrics}/metrics", timeout=5.0, trust_env=False)
    except httpx.HTTPError:
        return False
    return f'NodeType="{HEAD}"' in metrics.text
