"""What the adapter's tests put into the cluster."""

from datetime import UTC, datetime

from platform_app.dedicated import attempt_request
from platform_app.domain.job import Job
from platform_app.launch import DedicatedContext, LaunchContext
from platform_app.ports import RayJobRequest
from platform_app.specs import load_catalog
from tests.control_plane import train_spec

CATALOG = load_catalog()
NAMESPACE = "team-research"
NAME = "digits-000001-1"
CONTEXT = LaunchContext("/mnt/slipway", "http://mlflow", DedicatedContext("slipway:1", "slipway-cuda:1"))


def a_request() -> RayJobRequest:
    """Render an attempt of a dedicated job."""
    now = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
    spec = train_spec(cluster="dedicated", team="research")
    return attempt_request(Job("digits-000001", spec, now).admitted(now), CONTEXT, CATALOG)


def a_pod(component: str = "head", **status) -> dict:
    """Make a pod of the job."""
    labels = {"app.kubernetes.io/managed-by": "slipway", "app.kubernetes.io/instance": NAME}
    labels |= {"app.kubernetes.io/component": component, "ray.io/group": "gpu-spot"}
    metadata = {"name": f"{NAME}-{component}", "namespace": NAMESPACE, "labels": labels}
    spec = {"containers": [{"name": "ray", "image": "x", "resources": {"limits": {"cpu": "1", "memory": "1Gi"}}}]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": spec,
        "status": {"phase": "Pending", **status},
    }


def an_event(kind: str, name: str, reason: str, message: str, at: datetime) -> dict:
    """Make an event of Kubernetes about an object."""
    moment = at.strftime("%Y-%m-%dT%H:%M:%S.123456789Z")
    about = {"kind": kind, "name": name, "namespace": NAMESPACE}
    metadata = {"name": f"{name}.{reason.lower()}", "namespace": NAMESPACE}
    told = {"involvedObject": about, "reason": reason, "message": message, "eventTime": moment, "type": "Warning"}
    return {"apiVersion": "v1", "kind": "Event", "metadata": metadata, **told}
