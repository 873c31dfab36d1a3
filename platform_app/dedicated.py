"""Pure rendering of a dedicated job: its attempt as a RayJob, a cluster of its own in its team's namespace.

The Ray job inside is the very same as on the shared cluster, and the worker groups are those of the catalog.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import yaml

from platform_app.domain.capacity import demand, eligible, slots_per_worker
from platform_app.domain.job import Job
from platform_app.domain.preflight import QUEUE_LABEL
from platform_app.launch import DedicatedContext, LaunchContext, ray_job
from platform_app.manifests import ray_environment, team_namespace, worker_group
from platform_app.manifests.names import RAY_VERSION, labels, off_spot
from platform_app.manifests.workers import container_security, pod_security, storage_mount, storage_volume
from platform_app.ports import RayJobRequest
from platform_app.specs import AnyJobSpec, Catalog, ClusterChoice

MANAGED_BY = {"app.kubernetes.io/managed-by": "slipway"}
"""Label of everything that the control plane creates."""
INSTANCE_LABEL = "app.kubernetes.io/instance"
"""Its value is the submission id, on the RayJob and on all of its pods."""
GROUP_LABEL = "ray.io/group"
"""KubeRay's, on Ray pods: the worker group's name, or `headgroup`."""

_HEAD = {"cpu": "2", "memory": "4Gi"}
_SIDECAR = {"cpu": "500m", "memory": "512Mi"}
_KEPT_SECONDS = 60
"""How long an ended cluster stays when the platform, which lets go of it at once, is away."""
_HEAD_PORTS = {"gcs-server": 6379, "dashboard": 8265, "as-metrics": 44217, "dash-metrics": 44227}
"""The operator declares only `metrics`; the autoscaler's and the dashboard's are ours to declare."""


def attempt_request(
    job: Job, context: LaunchContext, catalog: Catalog, uris: Mapping[str, str] | None = None
) -> RayJobRequest:
    """Render a job's newest attempt as it is sent: to the shared cluster, or as a RayJob to Kubernetes.

    Args:
        job: an admitted job; a dedicated one has a team.
        context: where storage and MLflow are, and what dedicated clusters are made of.
        catalog: worker groups and times.
        uris: where Ray's workers fetch each of the job's packages; None for a job that has none.
    """
    request = ray_job(job, context, catalog, uris)
    if job.spec.cluster is not ClusterChoice.DEDICATED or context.dedicated is None:
        return request
    return replace(request, manifest=_manifest(job, request, context.dedicated, catalog))


def _manifest(job: Job, request: RayJobRequest, context: DedicatedContext, catalog: Catalog) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "name": request.submission_id,
        "namespace": team_namespace(job.spec.team or ""),
        "labels": _labels(job, request, job.spec.kind),
    }
    if context.queue:
        metadata["labels"] |= {QUEUE_LABEL: context.queue, "kueue.x-k8s.io/priority-class": job.spec.tier}
        # Kueue admits a cluster that the autoscaler resizes as an elastic job alone.
        metadata["annotations"] = {"kueue.x-k8s.io/elastic-job": "true"}
    spec = {
        "entrypoint": request.entrypoint,
        "runtimeEnvYAML": yaml.safe_dump(dict(request.runtime_env), sort_keys=True),
        "metadata": dict(request.metadata),
        "jobId": request.submission_id,
        "submissionMode": "K8sJobMode",
        # Attempts are the platform's: each is charged, told of, and goes on from the last checkpoint.
        "backoffLimit": 0,
        "shutdownAfterJobFinishes": True,
        "ttlSecondsAfterFinished": _KEPT_SECONDS,
        "submitterPodTemplate": _submitter(job, request, context),
        "rayClusterSpec": _cluster(job, request, context, catalog),
    }
    return {"apiVersion": "ray.io/v1", "kind": "RayJob", "metadata": metadata, "spec": spec}


def _labels(job: Job, request: RayJobRequest, component: str) -> dict[str, str]:
    ours = {"slipway/job": job.id, "slipway/team": job.spec.team or "", INSTANCE_LABEL: request.submission_id}
    return {**labels("slipway-job", component), **MANAGED_BY, **ours}


def _cluster(job: Job, request: RayJobRequest, context: DedicatedContext, catalog: Catalog) -> dict[str, Any]:
    return {
        "rayVersion": RAY_VERSION,
        "enableInTreeAutoscaling": True,
        "autoscalerOptions": {
            "version": "v2",
            "idleTimeoutSeconds": catalog.kubernetes.idle_timeout_seconds,
            "resources": _amounts(_SIDECAR),
            "securityContext": container_security(),
        },
        "authOptions": {"mode": "token"},
        "headGroupSpec": _head(job, request, context, catalog),
        "workerGroupSpecs": _workers(job, request, context, catalog),
    }


def _head(job: Job, request: RayJobRequest, context: DedicatedContext, catalog: Catalog) -> dict[str, Any]:
    container = {
        "name": "ray-head",
        "image": context.image,
        # A GPU image asks for all GPUs of whatever node the head lands on.
        "env": [*_environment(catalog), {"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"}],
        "ports": [{"name": name, "containerPort": port} for name, port in _HEAD_PORTS.items()],
        "resources": _amounts(_HEAD),
        "securityContext": container_security(),
        "volumeMounts": [storage_mount()],
    }
    # The head ends the whole job when it goes: nothing may move it that can wait.
    keep = {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false", "karpenter.sh/do-not-disrupt": "true"}
    pod = {
        "priorityClassName": job.spec.tier,
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 60,
        "affinity": off_spot(),
        "securityContext": pod_security(),
        "containers": [container],
        "volumes": [storage_volume()],
    }
    metadata = {"labels": _labels(job, request, "head"), "annotations": keep}
    return {"rayStartParams": {"num-cpus": "0"}, "template": {"metadata": metadata, "spec": pod}}


def _workers(job: Job, request: RayJobRequest, context: DedicatedContext, catalog: Catalog) -> list[dict[str, Any]]:
    groups = []
    for name, most in worker_maxima(job.spec, catalog).items():
        group = next(one for one in catalog.worker_groups if one.name == name)
        rendered = worker_group(group, catalog, environment="")
        template = rendered["template"]
        pod = template["spec"] | {"priorityClassName": job.spec.tier}
        image = context.cuda_image if group.gpus else context.image
        container = {key: value for key, value in pod["containers"][0].items() if key != "envFrom"}
        # The platform's ConfigMap is not in the team's namespace: its content comes along.
        container |= {"image": image, "env": [*_environment(catalog), *container.get("env", [])]}
        marks = template["metadata"] | {"labels": _labels(job, request, "worker")}
        groups.append(
            rendered
            | {
                "replicas": 0,
                "minReplicas": 0,
                "maxReplicas": most,
                "template": {"metadata": marks, "spec": pod | {"containers": [container]}},
            }
        )
    return groups


def worker_maxima(spec: AnyJobSpec, catalog: Catalog) -> dict[str, int]:
    """Give the worker groups of a dedicated cluster, and how many workers of each the job can use."""
    most = demand(spec).at_most
    return {
        group.name: min(group.max_workers, math.ceil(most / slots_per_worker(group, spec.resources)))
        for group in eligible(catalog, spec.resources)
    }


def _submitter(job: Job, request: RayJobRequest, context: DedicatedContext) -> dict[str, Any]:
    container = {
        "name": "ray-job-submitter",
        "image": context.image,
        "resources": _amounts(_SIDECAR),
        "securityContext": container_security(),
    }
    pod = {
        "priorityClassName": job.spec.tier,
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "affinity": off_spot(),
        "securityContext": pod_security(),
        "containers": [container],
    }
    return {"metadata": {"labels": _labels(job, request, "submitter")}, "spec": pod}


def _environment(catalog: Catalog) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in ray_environment(catalog).items()]


def _amounts(amounts: dict[str, str]) -> dict[str, Any]:
    return {"requests": dict(amounts), "limits": dict(amounts)}
