"""Lineage: from an answer back to what made its model, and from a job on to what serves its models.

Nothing is kept for it: the deployment's revisions, MLflow's tags and the ledger each tell their own part.
"""

from collections.abc import Sequence

from platform_app.errors import NotFound
from platform_app.ports import DeploymentStore, ModelRegistry
from platform_app.services.jobs import Jobs
from platform_app.serving_views import LineageView, RevisionView
from platform_app.specs import CommandSpec


class Lineage:
    """The use cases of lineage."""

    def __init__(self, deployments: DeploymentStore, registry: ModelRegistry) -> None:
        self._deployments = deployments
        self._registry = registry

    def of_revision(self, name: str, number: int, jobs: Jobs) -> LineageView:
        """Give what made a deployment's revision; a deployment that is gone is known by its revisions still.

        Args:
            name: a deployment, as an answer's `slipway-deployment` says.
            number: a revision, as an answer's `slipway-revision` says.
            jobs: as the caller has them; another team's job is not there.

        Raises:
            NotFound: there is no such revision.
        """
        revision = next((one for one in self._deployments.revisions(name) if one.number == number), None)
        if revision is None:
            raise NotFound(f"deployment {name!r} has no revision {number}: slipway revisions {name}")
        origin = self._registry.origin(revision.spec.model, revision.model_version)
        try:
            job = jobs.get(origin.job_id) if origin and origin.job_id else None
        except NotFound:
            job = None
        return LineageView(revision=RevisionView.of(revision), origin=origin, job=job)

    def of_job(self, job_id: str, jobs: Jobs) -> Sequence[RevisionView]:
        """Give the revisions that served, or tried to serve, the versions that a job made, newest first.

        Raises:
            NotFound: there is no such job, for this caller.
        """
        spec = jobs.get(job_id).spec
        model = None if isinstance(spec, CommandSpec) else spec.registered_model
        if model is None:
            return []
        made = [one.version for one in self._registry.versions(model) or () if one.job_id == job_id]
        return [RevisionView.of(one) for one in self._deployments.revisions_of(model, made)]
