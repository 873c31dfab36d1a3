"""What is said of a job by the platform itself, Ray, Kubernetes, KubeRay, Kueue and the autoscalers, and what it means.

Texts are those of Ray 2.60, Kubernetes 1.37, KubeRay 1.7, Kueue 0.19, Cluster Autoscaler 1.36 and Karpenter 1.14. The
order is the ranking: what nobody but a person can mend comes first, what mends itself last.
"""

from platform_app.domain.causes import ending, platform, running
from platform_app.domain.causes.admission import ADMISSION, RAY_JOB
from platform_app.domain.causes.nodes import NODES
from platform_app.domain.causes.pods import CONTAINERS, VOLUMES
from platform_app.domain.causes.queue import QUEUE
from platform_app.domain.causes.starting import AWAY, STARTING
from platform_app.domain.explain import Cause

CAUSES: tuple[Cause, ...] = (
    *ending.TOLD,
    *ending.REASONS,
    *platform.AWAY,
    *ADMISSION,
    *RAY_JOB,
    *platform.REFUSED,
    *CONTAINERS,
    *VOLUMES,
    *platform.QUEUE,
    *QUEUE,
    *platform.WORKERS,
    *NODES,
    *running.TROUBLED,
    *platform.COMING,
    *running.DOING,
    *platform.DRIVER,
    *AWAY,
    *STARTING,
    *running.BEFORE,
)
"""Every cause, the most telling first."""
