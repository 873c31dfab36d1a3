"""Deployments as Ray Serve applications, one each, beside the application that is the platform itself.

They are imperative applications: the declarative set belongs to whoever deploys the platform (`serve deploy`, KubeRay's
RayService), and replacing that set leaves these alone. Models are loaded by replicas, never in this process.
"""

import re
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import ray.exceptions
from ray import serve as ray_serve
from ray.serve.exceptions import RayServeException
from ray.serve.schema import ApplicationStatus, ApplicationStatusOverview, DeploymentStatus

from platform_app.errors import PermanentError, TemporaryError
from platform_app.ports import ServingObservation
from platform_app.specs import ServedModel
from serve.app import APPLICATION_PREFIX as _PREFIX
from serve.app import build, route_prefix


class RayServing:
    """The port `ModelServing`, from inside the cluster."""

    def __init__(self) -> None:
        self._settled: set[str] = set()
        """Deployments of which the version applied last was seen to have replaced all others."""

    def apply(self, model: ServedModel) -> None:
        """Make the deployment's application serve this version; returns before it does. Same input: no change."""
        self._settled.discard(model.deployment)
        target = ray_serve.RunTarget(
            target=build(model), name=_PREFIX + model.deployment, route_prefix=route_prefix(model.deployment)
        )
        with _mapped():
            ray_serve.run_many(
                [target], wait_for_ingress_deployment_creation=False, wait_for_applications_running=False
            )

    def observe(self) -> Mapping[str, ServingObservation]:
        """Say how each deployment's application is, by deployment name."""
        with _mapped():
            applications = ray_serve.status().applications
        ours = {name.removeprefix(_PREFIX): app for name, app in applications.items() if name.startswith(_PREFIX)}
        self._settled = {name for name, app in ours.items() if is_settled(app, name in self._settled)}
        return {name: observation(app, name in self._settled) for name, app in ours.items()}

    def delete(self, deployment: str) -> None:
        """Stop serving; nothing happens when it is gone already."""
        with _mapped():
            if _PREFIX + deployment in ray_serve.status().applications:
                # Serve's own wait lasts up to a minute; `observe` tells when it is gone.
                ray_serve.delete(_PREFIX + deployment, _blocking=False)


def is_settled(app: ApplicationStatusOverview, was_settled: bool) -> bool:
    """Tell whether the version applied last has replaced all others.

    Serve calls an application RUNNING also while it scales a deployment of which old replicas are left; so scaling
    counts as settled only where the version was settled before.
    """
    if app.status != ApplicationStatus.RUNNING:
        return False
    healthy = all(deployment.status == DeploymentStatus.HEALTHY for deployment in app.deployments.values())
    return healthy or was_settled


def observation(app: ApplicationStatusOverview, settled: bool) -> ServingObservation:
    """Render what Serve says of an application."""
    if settled:
        return ServingObservation(ready=True, failed=False)
    if app.status == ApplicationStatus.DELETING:
        return ServingObservation(ready=False, failed=False, message="is being deleted")
    failed = app.status in (ApplicationStatus.DEPLOY_FAILED, ApplicationStatus.UNHEALTHY)
    reasons = [
        deployment.message
        for deployment in app.deployments.values()
        # Right after an apply, a deployment still tells how the version before it failed.
        if failed or deployment.status != DeploymentStatus.DEPLOY_FAILED
    ]
    return ServingObservation(ready=False, failed=failed, message=root_cause(next(filter(None, reasons), app.message)))


def root_cause(message: str) -> str:
    """Cut Serve's message to what a person needs: the last line of the traceback that it holds, or its own words."""
    if waits := re.search(r"to be scheduled.*Resources required for each replica: (\{.*?\})", message):
        return f"a replica waits for a worker with {waits[1]}"
    text, _, trace = message.partition("Error:\n")
    lines = [line.strip() for line in trace.splitlines() if line.strip()]
    cause = lines[-1] if lines else text
    return textwrap.shorten(re.sub(r"^serve\.model\.\w+: ", "", cause), width=500)


@contextmanager
def _mapped() -> Iterator[None]:
    """Turn Ray's errors into the platform's."""
    try:
        yield
    except (ray.exceptions.RayTaskError, RayServeException, TypeError, ValueError) as error:
        raise PermanentError(f"Ray Serve refused: {root_cause(str(error))}") from error
    except (ray.exceptions.RayError, TimeoutError, ConnectionError) as error:
        raise TemporaryError(f"Ray Serve does not answer: {root_cause(str(error))}") from error
