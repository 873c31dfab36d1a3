"""The servers that ours is measured beside: how each is installed, started and asked.

Each has an environment of its own below `build/serving-peers`, with our versions of torch, scikit-learn and joblib.
Each serves one model in one process, with one thread for arithmetic, as ours does; otherwise as its documentation has
it for production: LitServe with its fast queue, Ray Serve as it is and with HAProxy and its flags for throughput,
MLServer with the model in the server's own process (`parallel_workers: 0`), the shorter way for one model. Those that
can batch are measured with and without, since batching costs where nobody else asks; the better one counts.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import httpx
import psutil

from tests.benchmarks.digit_models import DigitModel, rows_of
from tests.benchmarks.wires import Wire, body, is_right
from tests.plain_ray import free_port

CODE = Path(__file__).parent / "code" / "serving"
ENVIRONMENTS = Path("build/serving-peers")
BATCH = 64
"""Rows, or requests, that one call of a batching peer may have."""
START_SECONDS = 180.0
SHARED = [f"{package}=={version(package).partition('+')[0]}" for package in ("torch", "scikit-learn", "joblib")]
_THREADS = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "MKL", "OPENBLAS")}


class Unavailable(Exception):
    """A peer that cannot be installed or started here. `str()` of one says why, in a line."""


@dataclass(frozen=True)
class Peer:
    """One server, in one way of running it."""

    name: str
    package: str
    """What pip installs; peers of one package share an environment."""
    command: Callable[["Peer", int, Path], list[str]]
    """From the peer, a free port and a folder of its own to what starts the server."""
    path: str = "/predict"
    wire: Wire = Wire.ROWS
    environment: dict[str, str] = field(default_factory=dict)
    batch: int = 0
    """How many share a call; 0: each request is a call."""

    @property
    def home(self) -> Path:
        """Its environment."""
        return ENVIRONMENTS.resolve() / self.package.partition("[")[0].partition("=")[0]

    def program(self, name: str) -> str:
        """Give the path of a program of its environment."""
        return str(self.home / "bin" / name)

    @property
    def version(self) -> str:
        """The version that was installed."""
        name = self.home.name
        ask = f"from importlib.metadata import version; print(version({name!r}))"
        return subprocess.run([self.program("python"), "-c", ask], capture_output=True, text=True).stdout.strip()


def install(peer: Peer) -> None:
    """Make the environment of a peer, where it is not made yet. Raises Unavailable."""
    wanted = " ".join([peer.package, *SHARED])
    note = peer.home / "installed.txt"
    if note.exists() and note.read_text() == wanted:
        return
    shutil.rmtree(peer.home, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(peer.home)], check=True)
    done = subprocess.run(
        [peer.program("pip"), "install", "-q", *wanted.split()], capture_output=True, text=True, timeout=1800
    )
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["pip failed"]
        raise Unavailable(f"not installed: {lines[-1].removeprefix('ERROR: ')[:200]}")
    note.write_text(wanted)


@contextmanager
def serving(peer: Peer, model: DigitModel) -> Iterator[str]:
    """Serve a model, and give the URL that answers; nothing is left running. Raises Unavailable."""
    port = free_port()
    # Ray's sockets have room for short paths only.
    folder = Path(tempfile.mkdtemp(prefix="sw-", dir="/tmp"))
    log = folder / "log.txt"
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "SLIPWAY_", "MLFLOW_"))},
        **_THREADS,
        "PYTHONPATH": str(CODE),
        "PATH": f"{peer.home / 'bin'}:{os.environ['PATH']}",
        "MODEL": str(model.folder),
        "BATCH": str(peer.batch),
        "FOLDER": str(folder),
        **peer.environment,
    }
    with log.open("wb") as out:
        server = subprocess.Popen(
            peer.command(peer, port, model.folder), env=environment, stdout=out, stderr=out, cwd=folder
        )
    try:
        url = f"http://127.0.0.1:{port}{peer.path}"
        _wait_until_right(server, url, peer.wire, model, log)
        yield url
    finally:
        _end(server)
        shutil.rmtree(folder, ignore_errors=True)


def _wait_until_right(server: subprocess.Popen, url: str, wire: Wire, model: DigitModel, log: Path) -> None:
    rows = rows_of(3)
    deadline = time.monotonic() + START_SECONDS
    seen = "no answer"
    while time.monotonic() < deadline and server.poll() is None:
        try:
            answer = httpx.post(url, content=body(wire, rows), headers=JSON, timeout=10, trust_env=False)
            if answer.status_code == 200 and is_right(wire, answer.content, model.expected(rows)):
                return
            seen = f"{answer.status_code} {answer.text[:200]}"
        except httpx.HTTPError:
            pass
        time.sleep(0.2)
    tail = log.read_text(errors="replace").strip().splitlines()[-1:]
    raise Unavailable(f"gives no right answer: {seen}; {' '.join(tail)[:200]}")


def _end(server: subprocess.Popen) -> None:
    """End a server with all that it started."""
    with_children = psutil.Process(server.pid).children(recursive=True) if server.poll() is None else []
    server.terminate()
    _, alive = psutil.wait_procs([*with_children, server], timeout=20)
    for process in alive:
        process.kill()
    server.wait()


JSON = {"content-type": "application/json"}


def _script(name: str, *words: str) -> Callable[[Peer, int, Path], list[str]]:
    return lambda peer, port, _model: [peer.program("python"), str(CODE / name), *words, str(port)]


def _bentoml(peer: Peer, port: int, _model: Path) -> list[str]:
    served = [peer.program("bentoml"), "serve", "bentoml_service:Model", "--working-dir", str(CODE)]
    return [*served, "--host", "127.0.0.1", "--port", str(port)]


def _mlflow(peer: Peer, port: int, model: Path) -> list[str]:
    served = [peer.program("mlflow"), "models", "serve", "--env-manager", "local", "--workers", "1"]
    return [*served, "--model-uri", str(model / "mlflow"), "--host", "127.0.0.1", "--port", str(port)]


def _mlserver(peer: Peer, port: int, model: Path) -> list[str]:
    folder = Path(tempfile.mkdtemp(dir=model, prefix="mlserver-"))
    ports = {"http_port": port, "grpc_port": free_port(), "metrics_port": free_port()}
    settings = {"host": "127.0.0.1", **ports, "parallel_workers": 0, "debug": False}
    batching = {"max_batch_size": peer.batch, "max_batch_time": 0.005} if peer.batch else {}
    served = {"name": "model", "implementation": "mlserver_runtime.Model", **batching}
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "model-settings.json").write_text(json.dumps(served))
    return [peer.program("mlserver"), "start", str(folder)]


_RAY = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
_HAPROXY = {**_RAY, "RAY_SERVE_ENABLE_HA_PROXY": "1", "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1"}
_OIP = {"path": "/v2/models/model/infer", "wire": Wire.OPEN_INFERENCE}
_OURS = version("ray"), version("mlflow")

PEERS = (
    Peer("Ray Serve", f"ray[serve]=={_OURS[0]}", _script("ray_serve.py"), environment=_RAY),
    Peer("Ray Serve, batching", f"ray[serve]=={_OURS[0]}", _script("ray_serve.py"), environment=_RAY, batch=BATCH),
    Peer("Ray Serve, HAProxy", f"ray[serve]=={_OURS[0]}", _script("ray_serve.py"), environment=_HAPROXY),
    Peer(
        "Ray Serve, HAProxy, batching",
        f"ray[serve]=={_OURS[0]}",
        _script("ray_serve.py"),
        environment=_HAPROXY,
        batch=BATCH,
    ),
    Peer("MLServer", "mlserver", _mlserver, **_OIP),
    Peer("MLServer, batching", "mlserver", _mlserver, **_OIP, batch=BATCH),
    Peer("BentoML", "bentoml", _bentoml, wire=Wire.BARE_ROWS),
    Peer("BentoML, batching", "bentoml", _bentoml, wire=Wire.BARE_ROWS, batch=BATCH),
    Peer("LitServe", "litserve", _script("litserve_server.py")),
    Peer("LitServe, batching", "litserve", _script("litserve_server.py"), batch=BATCH),
    Peer("KServe", "kserve", _script("kserve_server.py", "--http_port"), **_OIP),
    Peer("MLflow", f"mlflow=={_OURS[1]}", _mlflow, path="/invocations", wire=Wire.MLFLOW),
)
