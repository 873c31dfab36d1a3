"""Kubernetes: dedicated jobs as RayJobs, teams' namespaces, worker groups, and what is known of jobs that wait there.

Objects are plain dictionaries, as in the manifests. The official client gives credentials, TLS and connections; its
generated classes are not used, for they turn what a newer server adds into nothing.
"""

from platform_app.adapters.kubernetes.api import KubernetesApi
from platform_app.adapters.kubernetes.rayjobs import KubeRayJobs
from platform_app.adapters.kubernetes.signs import KubernetesSigns
from platform_app.adapters.kubernetes.teams import apply_team
from platform_app.adapters.kubernetes.worker_groups import resize

__all__ = ["KubeRayJobs", "KubernetesApi", "KubernetesSigns", "apply_team", "resize"]
