"""The platform as a Serve application: the control plane (HTTP ingress) and the reconciler, one replica each.

    python -m platform_app.app        # deploys both on the Ray cluster that RAY_ADDRESS names, and exits

On KubeRay the same application is `import_path: platform_app.app:build` of a RayService. Both deployments stay on the
head: it is on-demand, and workers come and go. Either may be killed at any time: what they were told is in the
database, and Serve starts them again.
"""

import logging
import os
import socket
import threading
import uuid

import ray
from fastapi import FastAPI
from ray import serve
from ray.serve import Application

from platform_app import bootstrap
from platform_app.settings import Settings
from serve.grpc_door import GrpcDoor

APPLICATION = "slipway"

_ON_THE_HEAD = {"num_cpus": 0, "label_selector": {"ray.io/node-group": "head"}}


@serve.deployment(
    name="reconciler",
    num_replicas=1,
    ray_actor_options=_ON_THE_HEAD,
    health_check_period_s=5,
    graceful_shutdown_timeout_s=5,
)
class ReconcilerLoop:
    """Runs `tick()` again and again in a thread of its own."""

    def __init__(self, settings: Settings) -> None:
        holder = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
        reconciler = bootstrap.reconciler(settings, holder)
        self._stopping = threading.Event()
        self._thread = threading.Thread(
            target=reconciler.run_forever, args=(self._stopping, settings.tick_seconds), daemon=True
        )
        self._thread.start()

    def check_health(self) -> None:
        """Have Serve replace this replica when the loop is no longer alive."""
        if not self._thread.is_alive():
            raise RuntimeError("the reconciler's loop has ended")

    def __del__(self) -> None:
        """End the loop after the tick that is under way."""
        self._stopping.set()


@serve.deployment(
    name="control-plane",
    num_replicas=1,
    max_ongoing_requests=200,
    ray_actor_options=_ON_THE_HEAD,
    health_check_period_s=5,
    graceful_shutdown_timeout_s=5,
)
@serve.ingress()
class ControlPlane:
    """Answers the HTTP API."""

    def __init__(self, settings: Settings, *_beside: object) -> None:
        self._settings = settings

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Build the FastAPI application inside the replica."""
        return bootstrap.api(self._settings)


def build(args: dict[str, str] | None = None) -> Application:
    """Build the application; settings come from the environment, `args` override them."""
    settings = Settings(**(args or {}))  # type: ignore[arg-type]  # pydantic turns the strings into what each field is
    bootstrap.migrate(settings)
    beside = [ReconcilerLoop.bind(settings)]  # type: ignore[attr-defined]  # Serve's decorator gives a Deployment
    if settings.grpc_port is not None:
        on_the_head = GrpcDoor.options(ray_actor_options=_ON_THE_HEAD)  # type: ignore[attr-defined]
        beside.append(on_the_head.bind(settings.http_host, settings.grpc_port))
    return ControlPlane.bind(settings, *beside)  # type: ignore[attr-defined]  # Serve's decorator gives a Deployment


def main() -> None:
    """Deploy the platform on the cluster that `RAY_ADDRESS` names, and return when it runs."""
    settings = Settings()
    ray.init(namespace="serve", log_to_driver=False, logging_level=logging.WARNING)
    serve.start(proxy_location="HeadOnly", http_options={"host": settings.http_host, "port": settings.http_port})
    serve.run(build(), name=APPLICATION, route_prefix="/")


if __name__ == "__main__":
    main()
