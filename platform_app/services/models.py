"""Registered models: look, promote, roll back. MLflow keeps them; aliases say which version leads."""

from collections.abc import Sequence

from platform_app.domain.deployment import CHALLENGER, CHAMPION, PREVIOUS, Deployment, DeploymentState
from platform_app.domain.validation import nearest
from platform_app.errors import Conflict, FieldProblem, InvalidRequest, NotFound
from platform_app.ports import DeploymentStore, ModelRegistry
from platform_app.specs import Strategy
from platform_app.views import ModelVersionView, ModelView


class Models:
    """The use cases of registered models."""

    def __init__(self, registry: ModelRegistry, deployments: DeploymentStore) -> None:
        self._registry = registry
        self._deployments = deployments

    def list(self) -> Sequence[ModelView]:
        """Show all models, by name."""
        return self._registry.models()

    def versions(self, name: str) -> Sequence[ModelVersionView]:
        """Show a model's versions, newest first. Raises NotFound."""
        versions = self._registry.versions(name)
        if versions is None:
            raise NotFound(f"there is no model {name!r}{nearest(name, (model.name for model in self.list()))}")
        return versions

    def promote(self, name: str, version: int | None = None) -> ModelView:
        """Make a version the champion and keep the old one as `previous`; nothing changes when it is that already.

        Where a deployment that serves the champion has a rollout strategy, the version becomes `challenger`: the
        reconciler tries it, and moves `champion` when the rollout has passed.

        Args:
            name: a registered model.
            version: which; the newest when absent.

        Raises:
            NotFound: there is no such model.
            InvalidRequest: it has no such version.
            Conflict: another version is being rolled out.
        """
        known = [one.version for one in self.versions(name)]
        chosen = version or max(known, default=None)
        if chosen not in known:
            there = f"versions {', '.join(map(str, sorted(known)))}" if known else "no version yet"
            raise InvalidRequest(FieldProblem("version", f"{name} has {there}; got {version}"))
        champion = self._registry.resolve(name, CHAMPION)
        careful = [one for one in self._followers(name) if one.spec.rollout.strategy is not Strategy.IMMEDIATE]
        if champion == chosen:
            return self._model(name)
        if careful and champion is not None:
            self._challenge(name, chosen, careful)
        else:
            # The way back comes first: a platform that dies in between has lost nothing.
            self._registry.set_alias(name, PREVIOUS, champion)
            self._registry.set_alias(name, CHAMPION, chosen)
        return self._model(name)

    def rollback(self, name: str) -> ModelView:
        """Make the previous champion the champion again; it can be done once for each promotion.

        Raises:
            NotFound: there is no such model.
            Conflict: there is no previous champion, or a deployment decides by rollouts what leads.
        """
        self.versions(name)
        careful = [one.name for one in self._followers(name) if one.spec.rollout.strategy is not Strategy.IMMEDIATE]
        if careful:
            raise Conflict(f"{name} is served with rollouts: roll back its deployment: slipway rollback {careful[0]}")
        previous = self._registry.resolve(name, PREVIOUS)
        if previous is None:
            raise Conflict(f"{name} has no previous champion to go back to: promote the version you want")
        self._registry.set_alias(name, CHAMPION, previous)
        self._registry.set_alias(name, PREVIOUS, None)
        return self._model(name)

    def _challenge(self, name: str, version: int, careful: Sequence[Deployment]) -> None:
        for deployment in careful:
            rollout = deployment.active_rollout
            if rollout and rollout.candidate_version != version:
                raise Conflict(
                    f"version {rollout.candidate_version} is being rolled out to {deployment.name} ({rollout.phase}): "
                    f"wait for it, or end it: slipway rollback {deployment.name}"
                )
        self._registry.set_alias(name, CHALLENGER, version)

    def _followers(self, name: str) -> Sequence[Deployment]:
        """Give the deployments that serve a model's champion."""
        return [
            one
            for one in self._deployments.list()
            if (one.spec.model, one.spec.alias) == (name, CHAMPION) and one.state is not DeploymentState.DELETING
        ]

    def _model(self, name: str) -> ModelView:
        found = next((model for model in self._registry.models() if model.name == name), None)
        if found is None:
            raise NotFound(f"there is no model {name!r}")
        return found
