"""The catalog as Kubernetes objects: pure rendering of all in `k8s/` that depends on worker groups, tiers and teams.

    python -m platform_app.manifests        # writes the rendered files; a test holds the committed ones to it

What does not depend on the catalog is written by hand, as kustomize; what is rendered is never edited. Nothing here
reads or writes but `__main__`. Objects are plain dicts, which the API server, KubeRay's own client and YAML all take.
"""

from platform_app.manifests.files import rendered_files
from platform_app.manifests.teams import team_namespace, team_objects
from platform_app.manifests.workers import ray_environment, worker_group

__all__ = ["ray_environment", "rendered_files", "team_namespace", "team_objects", "worker_group"]
