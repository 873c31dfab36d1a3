"""Starts and ends a local cluster. Whatever way a start ends, nothing is left that `down` would not find."""

import fcntl
import json
import os
import secrets
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import yaml
from pydantic import ValidationError

from platform_app.errors import PermanentError
from platform_app.local.autoscaler import autoscaling_config
from platform_app.local.components import KEEPER, RAY, Component, autoscaling_file, components, health
from platform_app.local.haproxy import find_haproxy, make_haproxy
from platform_app.local.network import reserved_ports
from platform_app.local.orders import Orders
from platform_app.local.processes import members, stop_members
from platform_app.local.start import Progress, StartFailed, start
from platform_app.local.state import (
    ClusterState,
    Ports,
    cluster_id,
    read_state,
    remove_state,
    resolve_home,
    temp_dir,
    write_state,
)
from platform_app.specs import Catalog, load_catalog

CONTROL_PLANE = (sys.executable, "-m", "platform_app.app")
"""Connects to the cluster, deploys the control plane and ends with 0."""

_POLL_SECONDS = 0.5


class LocalCluster:
    """The cluster of one home.

    Args:
        home: its folder; None for the usual one.
        control_plane: the command that deploys the control plane.
        timeout_seconds: how long one component may take to start.
    """

    def __init__(
        self, home: Path | None = None, control_plane: Sequence[str] = CONTROL_PLANE, timeout_seconds: float = 120.0
    ) -> None:
        self.home = resolve_home(home)
        self._control_plane = control_plane
        self._timeout_seconds = timeout_seconds

    @property
    def state(self) -> ClusterState | None:
        """The cluster as it was started; None when there is none. Raises PermanentError for an unreadable state."""
        return read_state(self.home)

    def up(
        self,
        progress: Progress = lambda _name, _ready: None,
        http_port: int | None = None,
        catalog: Path | None = None,
        haproxy: bool | None = None,
    ) -> tuple[ClusterState, bool]:
        """Start the cluster, or find that it is up; one without a keeper is given one, and what is gone comes back.

        Args:
            progress: told how the start goes.
            http_port: port of the API; None for the usual one or the next free one.
            catalog: a catalog file; None for the one that comes with Slipway.
            haproxy: whether HAProxy is the proxy, in the place of Ray Serve's own; None: where there is one.

        Returns:
            The cluster, and whether this call started it.

        Raises:
            StartFailed: a component did not start; nothing of the cluster is left.
            PermanentError: the home, the catalog or HAProxy cannot be used, another `up` is at work, a port is taken,
                or a cluster is there that does not answer.
        """
        source = catalog.resolve() if catalog else None
        groups = _read_catalog(source)
        self._make_home()
        with self._alone():
            if found := self._already_up(progress):
                return found, False
            self.down()
            for log in (self.home / "logs").glob("*.log"):
                log.unlink()
            with reserved_ports(http_port) as ports:
                state = self._new_state(ports, source, find_haproxy(haproxy))
                try:
                    write_state(state)
                    _make_ray_folder(state, groups)
                    self._start(state, self.components(state), progress)
                    state = state.model_copy(update={"ready": True})
                    write_state(state)
                except BaseException as error:
                    if isinstance(error, StartFailed):
                        _keep_ray_logs(state)
                    self.down()
                    raise
        return state, True

    def down(self) -> bool:
        """End the cluster; False when there was none. Raises PermanentError when a process does not die."""
        state = self.state
        # Both, for a home may have been moved, and a state file lost.
        names = {cluster_id(self.home)} | ({state.cluster_id} if state else set())
        ended = sum(stop_members(name) for name in names)
        for name in names:
            shutil.rmtree(temp_dir(name), ignore_errors=True)
        remove_state(self.home)
        return state is not None or ended > 0

    def components(self, state: ClusterState) -> tuple[Component, ...]:
        """Say what the cluster is made of. Raises PermanentError when its catalog cannot be read any more."""
        return components(state, os.environ, _read_catalog(state.catalog), self._control_plane)

    def start_again(self, state: ClusterState, parts: Sequence[Component]) -> None:
        """Start a component that is gone, and those that ran in it, as they were: same ports, secrets and storage.

        What is left of them is killed, in Ray's case drivers, workers and replicas too: none can go on without a head.

        Raises:
            StartFailed: one did not start, or the cluster was ended meanwhile; what was started still runs.
            PermanentError: a process does not die.
            OSError: Ray's folder cannot be emptied.
        """
        names = {part.name for part in parts}
        stop_members(state.cluster_id, names, grace_seconds=0)
        if RAY in names:
            _empty_ray_folder(state)
        self._start(state, parts, lambda _name, _ready: None)

    def is_current(self, state: ClusterState) -> bool:
        """Say whether a cluster is the one that its home has now: nobody has ended it."""
        now = self.state
        return now is not None and now.started_at == state.started_at

    def _make_home(self) -> None:
        try:
            for folder in ("storage", "mlflow", "logs"):
                (self.home / folder).mkdir(parents=True, exist_ok=True)
            # It lies in someone's project and holds secrets and models.
            (self.home / ".gitignore").write_text("*\n")
        except OSError as error:
            message = f"cannot write to {self.home}: {error.strerror}. Name another folder with --home."
            raise PermanentError(message) from error

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with (self.home / "up.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise PermanentError(f"another `slipway up` is starting the cluster of {self.home}.") from None
            yield

    def _already_up(self, progress: Progress) -> ClusterState | None:
        state = self.state
        if state is None or not state.ready or not members(state.cluster_id):
            return None
        if not members(state.cluster_id, {KEEPER}):
            state.keeper_note.unlink(missing_ok=True)
            self._start(state, [part for part in self.components(state) if part.name == KEEPER], progress)
        deadline = time.monotonic() + self._timeout_seconds
        while silent := [name for name, well in health(state).items() if not well]:
            if time.monotonic() > deadline:
                raise PermanentError(
                    f"the cluster of {self.home} runs, but {' and '.join(silent)} does not answer. "
                    "See `slipway status`; or run `slipway down`, then `slipway up`."
                )
            time.sleep(_POLL_SECONDS)
        return state

    def _new_state(self, ports: Ports, catalog: Path | None, haproxy: Path | None) -> ClusterState:
        return ClusterState(
            cluster_id=cluster_id(self.home),
            home=self.home,
            started_at=datetime.now(UTC),
            ports=ports,
            api_token=secrets.token_urlsafe(24),
            ray_token=secrets.token_hex(32),
            catalog=catalog,
            haproxy=haproxy,
        )

    def _start(self, state: ClusterState, parts: Sequence[Component], progress: Progress) -> None:
        start(
            parts,
            home=state.home,
            logs=state.logs,
            progress=progress,
            wanted=lambda: self.is_current(state),
            timeout_seconds=self._timeout_seconds,
        )


def _read_catalog(path: Path | None) -> Catalog:
    try:
        return load_catalog(path)
    except (OSError, yaml.YAMLError, ValidationError) as error:
        raise PermanentError(f"{path} is no catalog: {error}") from error


def _make_ray_folder(state: ClusterState, groups: Catalog) -> None:
    try:
        state.temp_dir.mkdir(mode=0o700)
    except OSError as error:
        raise PermanentError(f"cannot make {state.temp_dir}: {error.strerror}. Remove it.") from error
    make_haproxy(state)
    config = autoscaling_config(groups, state.ray_address, state.market_dir)
    autoscaling_file(state).write_text(json.dumps(config, indent=2))


def _empty_ray_folder(state: ClusterState) -> None:
    """Take all that Ray has made out of its folder; the worker groups and their stock are as the user wants them."""
    _keep_ray_logs(state)
    for entry in set(state.temp_dir.iterdir()) - {autoscaling_file(state), state.market_dir}:
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    make_haproxy(state)
    Orders(state.market_dir).forget_nodes()


def _keep_ray_logs(state: ClusterState) -> None:
    """Keep the logs of Ray's processes that ended; a disk that is full holds up nothing."""
    logs, kept = state.temp_dir / "session_latest" / "logs", state.logs / "ray-session"
    if logs.is_dir():
        shutil.rmtree(kept, ignore_errors=True)
        with suppress(OSError):
            shutil.copytree(logs, kept, ignore_dangling_symlinks=True)
