"""What the API answers about serving: deployments, their rollouts and revisions, and where a model came from."""

from datetime import datetime

from platform_app.display import View
from platform_app.domain.deployment import Deployment, DeploymentState, Revision, RevisionState
from platform_app.domain.guards import log_bound
from platform_app.domain.rollout import Phase, Rollout, held, numbers
from platform_app.specs import DeploymentSpec, RolloutSpec, Strategy, route_prefix
from platform_app.views import JobView


class OriginView(View):
    """What made a model version: MLflow's own record of it."""

    model: str
    version: int
    run_id: str | None = None
    job_id: str | None = None
    attempt: int | None = None
    """Number of the job's attempt that registered it."""
    spec_digest: str | None = None
    commit: str | None = None
    """Git's, of the working directory that the job was submitted from."""


class GuardView(View):
    """What one guard has against a candidate."""

    name: str
    log_evidence: float
    """Natural logarithm of the e-value; 0 says nothing."""
    log_bound: float
    """At this evidence the candidate is rolled back."""
    numbers: str


class RolloutView(View):
    """A rollout as it is, or as it ended."""

    phase: Phase
    strategy: Strategy
    candidate_version: int
    revision: int
    stable_version: int
    step: int
    """Counts from 1."""
    num_steps: int
    weight: float
    """Percentage of the requests that the candidate gets."""
    step_progress: float
    """From 0 to 1."""
    requests: int
    """Taken by the candidate so far."""
    guard: str | None
    """Which guard rolled it back."""
    message: str
    guards: tuple[GuardView, ...]
    started_at: datetime
    ended_at: datetime | None

    @classmethod
    def of(cls, rollout: Rollout, spec: RolloutSpec, now: datetime) -> "RolloutView":
        """Show a rollout of a deployment."""
        step = spec.steps[min(rollout.step, len(spec.steps) - 1)]
        counts = tuple(rollout.seen.values())
        running = rollout.phase is Phase.RUNNING
        return cls(
            phase=rollout.phase,
            strategy=spec.strategy,
            candidate_version=rollout.candidate_version,
            revision=rollout.revision,
            stable_version=rollout.stable_version,
            step=rollout.step + 1,
            num_steps=len(spec.steps),
            weight=step.weight if running else 100.0 if rollout.phase is Phase.PROMOTING else 0.0,
            step_progress=held(rollout, step, now) if running else 0.0,
            requests=rollout.exposed,
            guard=rollout.guard,
            message=rollout.message,
            guards=tuple(
                GuardView(
                    name=one.guard,
                    log_evidence=one.log_value,
                    log_bound=log_bound(spec.guards),
                    numbers=numbers(one, counts),
                )
                for one in rollout.evidence
            ),
            started_at=rollout.started_at,
            ended_at=rollout.ended_at,
        )


class RevisionView(View):
    """A version with a spec that a deployment served, or tried to."""

    deployment: str
    number: int
    model: str
    model_version: int
    state: RevisionState
    created_at: datetime
    spec: DeploymentSpec

    @classmethod
    def of(cls, revision: Revision) -> "RevisionView":
        """Show a revision."""
        return cls(model=revision.spec.model, **vars(revision))


class LineageView(View):
    """From an answer back to what made it: a revision, and the origin of its model version."""

    revision: RevisionView
    origin: OriginView | None
    """None where MLflow knows the version no more."""
    job: JobView | None
    """None where the job is not this platform's."""


class DeploymentView(View):
    """A deployment as it is now."""

    name: str
    spec: DeploymentSpec
    state: DeploymentState
    message: str
    target_version: int | None
    served_version: int | None
    revision: int
    """Of the stable version; 0 before the first."""
    rollout: RolloutView | None
    """The newest, which may be over."""
    url: str
    """Where it answers, relative to the platform: the Open Inference Protocol v2 at `/v2/models/{name}`, or OpenAI's
    routes below `/llm/{name}/v1`."""
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, deployment: Deployment, now: datetime) -> "DeploymentView":
        """Show a deployment."""
        rollout = deployment.rollout
        return cls(
            name=deployment.name,
            spec=deployment.spec,
            state=deployment.state,
            message=deployment.message,
            target_version=deployment.target_version,
            served_version=deployment.served_version,
            revision=deployment.revision,
            rollout=RolloutView.of(rollout, deployment.spec.rollout, now) if rollout else None,
            url=route_prefix(deployment.name, deployment.spec),
            created_at=deployment.created_at,
            updated_at=deployment.updated_at,
        )
