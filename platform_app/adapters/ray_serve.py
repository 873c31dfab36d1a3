"""Deployments as Ray Serve applications, one each, beside the application that is the platform itself.

They are imperative applications: the declarative set belongs to whoever deploys the platform (`serve deploy`, KubeRay's
RayService), and replacing that set leaves these alone. Models are loaded by replicas, never in this process.
"""

import math
import re
import textwrap
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import ray
import ray.exceptions
from ray import serve as ray_serve
from ray.serve.exceptions import RayServeException
from ray.serve.schema import (
    ApplicationStatus,
    ApplicationStatusOverview,
    DeploymentStatus,
    DeploymentStatusOverview,
)

from platform_app.domain.rollout import Scores
from platform_app.errors import PermanentError, TemporaryError
from platform_app.ports import ServingObservation
from platform_app.specs import Evaluation, ServedModel, SplitCounts, route_prefix
from serve.app import APPLICATION_PREFIX as _PREFIX
from serve.app import build, nodes
from serve.evaluation import evaluate
from serve.rollout import is_candidate
from serve.tallies import ACTOR_NAME, ACTOR_NAMESPACE

_PATIENCE_SECONDS = 2.0
"""For an answer of the actor that keeps the counts."""
_FRESH_SECONDS = 3.0
"""After an apply, until what Serve says of a single deployment is believed."""


class RayServing:
    """The port `ModelServing`, from inside the cluster."""

    def __init__(self) -> None:
        self._settled: set[str] = set()
        """Deployments of which the version applied last was seen to have replaced all others."""
        self._applied_at: dict[str, float] = {}
        """When something was applied last, by deployment; of the monotonic clock."""
        self._examinations: dict[str, tuple[int, ray.ObjectRef]] = {}
        """The newest examination of each deployment: of which revision, and its task."""

    def apply(self, model: ServedModel) -> None:
        """Make the deployment's application serve this version; returns before it does. Same input: no change."""
        self._settled.discard(model.deployment)
        self._applied_at[model.deployment] = time.monotonic()
        target = ray_serve.RunTarget(
            target=build(model),
            name=_PREFIX + model.deployment,
            route_prefix=route_prefix(model.deployment, model.spec),
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
        self._settled = {
            name for name, app in ours.items() if is_settled(app, name in self._settled, self._is_fresh(name))
        }
        return {name: observation(app, name in self._settled) for name, app in ours.items()}

    def counts(self, model: ServedModel) -> Sequence[SplitCounts]:
        """Give what the stable replicas have counted of a candidate so far; nothing where none has told yet."""
        if model.candidate is None:
            return []
        with _mapped():
            try:
                actor = ray.get_actor(ACTOR_NAME, ACTOR_NAMESPACE)
            except ValueError:  # no replica has counted anything yet
                return []
            told = ray.get(actor.get.remote(model.deployment, model.candidate.revision), timeout=_PATIENCE_SECONDS)
        return [SplitCounts.model_validate_json(counts) for counts in told]

    def examine(self, model: ServedModel) -> Scores | None:
        """Let a worker evaluate candidate and champion, and give the scores once they are there."""
        if model.candidate is None or model.spec.rollout.guards.evaluation is None:
            return None
        revision, task = self._examinations.get(model.deployment, (None, None))
        if revision != model.candidate.revision:
            task = _examination(model, model.candidate.version, model.spec.rollout.guards.evaluation)
            self._examinations[model.deployment] = (model.candidate.revision, task)
        done, _ = ray.wait([task], timeout=0)
        if not done:
            return None
        try:
            return Scores(*ray.get(task))
        except ray.exceptions.RayError as error:
            return Scores(error=f"the examination failed: {root_cause(str(error))}")

    def _is_fresh(self, deployment: str) -> bool:
        return time.monotonic() - self._applied_at.get(deployment, -math.inf) < _FRESH_SECONDS

    def delete(self, deployment: str) -> None:
        """Stop serving; nothing happens when it is gone already."""
        with _mapped():
            if _PREFIX + deployment in ray_serve.status().applications:
                # Serve's own wait lasts up to a minute; `observe` tells when it is gone.
                ray_serve.delete(_PREFIX + deployment, _blocking=False)


def _examination(model: ServedModel, version: int, evaluation: Evaluation) -> ray.ObjectRef:
    """Start a task with a replica's resources that evaluates a version and the champion."""
    options = {
        "num_cpus": model.spec.cpus_per_replica,
        "num_gpus": model.spec.gpus_per_replica,
        "label_selector": nodes(model.spec),
        "max_retries": 2,
    }
    candidate = model.model_copy(update={"version": version})
    return ray.remote(evaluate).options(**options).remote(candidate, model.version, evaluation)


def is_settled(app: ApplicationStatusOverview, was_settled: bool, is_fresh: bool = False) -> bool:
    """Tell whether the stable version applied last has replaced all others.

    Serve calls an application RUNNING also while it scales a deployment of which old replicas are left; so scaling
    counts as settled only where the version was settled before. A candidate that starts or fails keeps the application
    from RUNNING; the stable deployments then say themselves how they are, once Serve has had the time to look.

    Args:
        app: what Serve says.
        was_settled: whether it was settled at the last look, with nothing applied since.
        is_fresh: whether something was applied just now, so that a deployment may still speak of what was before.
    """
    stable, candidates = _parts(app)
    if app.status != ApplicationStatus.RUNNING and (app.status == ApplicationStatus.DELETING or not candidates):
        return False
    if app.status != ApplicationStatus.RUNNING and is_fresh:
        return False
    healthy = bool(stable) and all(one.status == DeploymentStatus.HEALTHY for one in stable)
    return healthy or (was_settled and all(one.status in _ANSWERING for one in stable))


def observation(app: ApplicationStatusOverview, settled: bool) -> ServingObservation:
    """Render what Serve says of an application."""
    if app.status == ApplicationStatus.DELETING:
        return ServingObservation(ready=False, failed=False, message="is being deleted")
    stable, candidates = _parts(app)
    failed = app.status in (ApplicationStatus.DEPLOY_FAILED, ApplicationStatus.UNHEALTHY)
    its_own = not candidates or any(one.status in _FAILED for one in stable)
    seen = ServingObservation(ready=settled, failed=failed and its_own and not settled)
    if not settled:
        seen = replace(seen, message=root_cause(next(_reasons(stable, failed), app.message)))
    if not candidates:
        return seen
    return replace(
        seen,
        candidate_ready=all(one.status in _ANSWERING for one in candidates),
        candidate_failed=any(one.status == DeploymentStatus.DEPLOY_FAILED for one in candidates),
        candidate_message=root_cause(next(_reasons(candidates, failed=True), "")),
    )


_ANSWERING = (DeploymentStatus.HEALTHY, DeploymentStatus.UPSCALING, DeploymentStatus.DOWNSCALING)
_FAILED = (DeploymentStatus.DEPLOY_FAILED, DeploymentStatus.UNHEALTHY)


def _parts(app: ApplicationStatusOverview) -> tuple[list[DeploymentStatusOverview], list[DeploymentStatusOverview]]:
    """Tell an application's own deployments from those of a candidate."""
    stable = [one for name, one in app.deployments.items() if not is_candidate(name)]
    return stable, [one for name, one in app.deployments.items() if is_candidate(name)]


def _reasons(deployments: Sequence[DeploymentStatusOverview], failed: bool) -> Iterator[str]:
    """Give what deployments say of themselves; right after an apply, one still tells how what was before it failed."""
    for one in deployments:
        if one.message and (failed or one.status != DeploymentStatus.DEPLOY_FAILED):
            yield one.message


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
