"""A Kubernetes cluster for tests, on this machine, without containers.

    with kube_cluster() as kube:
        kube.apply(manifests)
        kube.eventually(lambda: kube.get("rayclusters", "rc", "team-a")["status"].get("state") == "ready")

The API server speaks TLS and HTTP as Kubernetes does; the KubeRay operator, the scheduler, the node autoscaler and the
kubelets are stand-ins; Ray, and Ray's autoscaler for KubeRay, are real.
"""

import shutil
import tempfile
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.kube.standin.api_cluster import KubeCluster
from tests.kube.standin.events import Recorder
from tests.kube.standin.kubelet.containers import Runtime
from tests.kube.standin.kubelet.kubelet import Kubelet
from tests.kube.standin.kubelet.network import RAY_PORTS, own_address
from tests.kube.standin.kubelet.pools import DEFAULT_POOLS, Pool
from tests.kube.standin.kubelet.ray_pod import RayPods, Settings
from tests.kube.standin.kubelet.reclaims import Reclaims
from tests.kube.standin.kubelet.scheduler import Scheduler
from tests.kube.standin.kubelet.volumes import Volumes
from tests.kube.standin.operator.cluster_status import ready
from tests.kube.standin.operator.clusters import Clusters
from tests.kube.standin.operator.dashboard import Dashboard
from tests.kube.standin.operator.jobs import Jobs
from tests.kube.standin.operator.services import Services
from tests.kube.standin.operator.submitter import Submitter

Object = dict[str, Any]

_STEP_SECONDS = 0.4


class RunningCluster(KubeCluster):
    """A cluster with nodes, on which pods of Ray are processes."""

    def __init__(self, home: Path, pools: Sequence[Pool], settings: Settings, groups: tuple[str, ...] | None) -> None:
        super().__init__(home, groups)
        operator = Recorder(self.api, "kuberay-operator")
        self._runtime = Runtime(home)
        self._volumes = Volumes(self.api, self._runtime.folder, home / "shared")
        in_cluster = self.credentials.in_cluster
        self._ray_pods = RayPods(self.api, self.network, settings, self._volumes, home / "t", in_cluster)
        submitter = Submitter(self.api, home / "pods")
        self._scheduler = self._serving.call(lambda: Scheduler(self.api, pools))
        self._kubelet = Kubelet(self.api, self._runtime, self._ray_pods, self._failed)
        self._reclaims = Reclaims(self.api, self._kubelet)
        jobs = Jobs(self.api, operator, self._dashboard, submitter, self._ray_pods.localize)
        services = Services(self.api, operator, self._dashboard, self._serve_config)
        steps = (Clusters(self.api, operator).step, self._scheduler.step, self._kubelet.step, jobs.step, services.step)
        for step in steps:
            self._serving.repeat(step, _STEP_SECONDS, self._failed)

    def reclaim(self, target: str, grace_seconds: float = 30.0) -> list[str]:
        """Take back a node, or the node of a pod, as a spot market does; the pods that go with it."""
        return self._serving.call(lambda: self._reclaims.reclaim(self._node(target), grace_seconds))

    def stock(self, pool: str, most: int) -> None:
        """Set how many nodes of a pool there may be from now on; 0 is out of stock. Those that run stay."""
        self._scheduler.stock[pool] = most

    def break_image(self, part: str) -> None:
        """Let images whose name contains a part not be pulled; `mend_images` ends it."""
        self._kubelet.missing_images.add(part)

    def mend_images(self) -> None:
        """Let all images be pulled."""
        self._kubelet.missing_images.clear()

    def head(self, cluster: str, namespace: str) -> Object | None:
        """Give the head pod of a RayCluster; None while there is none."""
        heads = self.list("pods", namespace, f"ray.io/cluster={cluster},ray.io/node-type=head")
        return next(iter(heads), None)

    def address(self, cluster: str, namespace: str, port: str | int) -> str:
        """Give `host:port` on this machine of a cluster's head: `gcs`, `dashboard`, `client`, `serve`, or a number.

        Raises:
            LookupError: the cluster has no head yet.
        """
        head = self.head(cluster, namespace)
        if head is None:
            raise LookupError(f"RayCluster {namespace}/{cluster} has no head pod")
        return self.network.address(head, RAY_PORTS.get(port, port) if isinstance(port, str) else port)  # type: ignore[arg-type]

    def claim(self, name: str) -> Path:
        """Give the folder that pods see where they mount a PersistentVolumeClaim of a name."""
        return self._volumes.claim(name)

    def log(self, namespace: str, pod: str, container: str) -> str:
        """Give a container's output so far."""
        return self._log(namespace, pod, container) or ""

    def stop(self) -> None:
        """End every process of every pod, then the API server."""
        self._serving.end_steps()
        self._serving.wait(self._kubelet.stop(), timeout=120)
        super().stop()
        self._runtime.close()

    def _node(self, target: str) -> str:
        for pod in self.api.list(self.api.kinds.named("pods"), None, fields=f"metadata.name={target}"):
            return pod["spec"].get("nodeName") or target
        return target

    def _dashboard(self, cluster: Object) -> Dashboard | None:
        metadata = cluster["metadata"]
        selector = f"ray.io/cluster={metadata['name']},ray.io/node-type=head"
        heads = self.api.list(self.api.kinds.named("pods"), metadata["namespace"], selector)
        if not heads or not ready(heads[0]):
            return None
        try:
            env = self._ray_pods.environment(heads[0], heads[0]["spec"]["containers"][0])
        except Exception:  # what its configuration lacks is told by its pod
            return None
        return Dashboard(self.network.address(heads[0], RAY_PORTS["dashboard"]), env.get("RAY_AUTH_TOKEN"))

    def _serve_config(self, cluster: Object, text: str) -> Object:
        config = yaml.safe_load(self._ray_pods.localize(text)) or {"applications": []}
        head = self.api.list(
            self.api.kinds.named("pods"),
            cluster["metadata"]["namespace"],
            f"ray.io/cluster={cluster['metadata']['name']}",
        )[0]
        options = config.setdefault("http_options", {})
        options.update(host=own_address(), port=self.network.port(head, RAY_PORTS["serve"]))
        return config

    def _failed(self, error: BaseException) -> None:
        self.failures.append("".join(traceback.format_exception(error)))


@contextmanager
def kube_api(groups: tuple[str, ...] | None = None) -> Iterator[KubeCluster]:
    """Give a cluster without nodes and operators: objects, admission, RBAC, watches; it is there at once.

    Args:
        groups: API groups whose CRDs are installed; None for all that are known.
    """
    with _home() as home:
        kube = KubeCluster(home, groups)
        try:
            yield kube
        finally:
            kube.stop()


@contextmanager
def kube_cluster(
    pools: Sequence[Pool] = DEFAULT_POOLS,
    *,
    environment: Mapping[str, str] | None = None,
    services: Mapping[str, str] | None = None,
    mounts: Mapping[str, str] | None = None,
    groups: tuple[str, ...] | None = None,
) -> Iterator[RunningCluster]:
    """Give a cluster with nodes, the operator and real Ray; everything is ended with the block.

    Args:
        pools: which nodes there may be.
        environment: variables for every container of Ray, over its own.
        services: addresses on this machine of services that pods name: `{"mlflow.slipway:5000": "127.0.0.1:5012"}`.
        mounts: folders on this machine for paths in pods, over those of their volumes: see `RunningCluster.claim`.
        groups: API groups whose CRDs are installed; None for all that are known.
    """
    settings = Settings(environment or {}, services or {}, mounts or {})
    with _home() as home:
        kube = RunningCluster(home, pools, settings, groups)
        try:
            yield kube
        finally:
            kube.stop()


@contextmanager
def _home() -> Iterator[Path]:
    # Ray's sockets are below it, whose paths must be short.
    home = Path(tempfile.mkdtemp(prefix="sw-k", dir="/tmp"))
    try:
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)
