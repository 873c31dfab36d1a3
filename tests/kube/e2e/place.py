"""Where the journey is made: what it needs of a cluster, wherever that comes from."""

import os
import subprocess
from abc import ABC, abstractmethod
from functools import cached_property
from pathlib import Path

from platform_app.adapters.kubernetes import KubernetesApi
from platform_app.errors import PermanentError
from tests.kube.manifests import K8S


class Place(ABC):
    """A cluster with the KubeRay operator, and with node pools that have the labels and taints of the cluster page."""

    kubeconfig: Path | None = None
    """Absent: as kubectl finds it."""
    context: str | None = None
    """Absent: the current one."""

    @abstractmethod
    def reclaim(self, pod: str, grace_seconds: int) -> None:
        """Take back the node of a worker of the platform's cluster, which ends within the grace period."""

    @abstractmethod
    def api_url(self) -> str:
        """Give the URL of the platform, which answers."""

    @abstractmethod
    def mlflow_url(self) -> str:
        """Give the URL of MLflow, which answers."""

    def scalers(self) -> set[str]:
        """Name who has set sizes of worker groups so far; nobody, where the API server does not tell."""
        return set()

    @abstractmethod
    def faults(self) -> list[str]:
        """Give what went wrong in the cluster itself: there should be nothing."""

    @cached_property
    def kubernetes(self) -> KubernetesApi:
        """The API server."""
        return KubernetesApi.from_kubeconfig(self.kubeconfig, self.context)

    def kubectl(self, *words: str, text: str = "") -> str:
        """Run kubectl, and give what it prints.

        Raises:
            PermanentError: it failed, or is not there.
        """
        environment = {**os.environ, **({"KUBECONFIG": str(self.kubeconfig)} if self.kubeconfig else {})}
        line = ["kubectl", *(["--context", self.context] if self.context else []), *words]
        try:
            done = subprocess.run(line, env=environment, input=text, text=True, capture_output=True, timeout=120)
        except FileNotFoundError as absent:
            raise PermanentError("kubectl is not installed: see https://kubernetes.io/docs/tasks/tools") from absent
        if done.returncode:
            raise PermanentError(f"{' '.join(line)}: {done.stderr.strip()}")
        return done.stdout

    def apply(self, kustomization: str) -> None:
        """Apply a kustomization of `k8s/`, as the cluster page does."""
        # The stand-in has no schemas to give to kubectl; it checks objects itself.
        self.kubectl("apply", "--server-side", "--force-conflicts", "--validate=false", "-k", str(K8S / kustomization))
