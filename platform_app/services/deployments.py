"""Deployments: what should serve. The reconciler makes it so."""

from collections.abc import Sequence
from dataclasses import replace

from platform_app.domain.deployment import Deployment, DeploymentState
from platform_app.domain.validation import nearest
from platform_app.errors import FieldProblem, InvalidRequest, NotFound
from platform_app.ports import Clock, DeploymentStore, ModelRegistry
from platform_app.services.guarded import again_when_stale
from platform_app.specs import DeploymentSpec
from platform_app.views import DeploymentView


class Deployments:
    """The use cases of deployments."""

    def __init__(self, store: DeploymentStore, registry: ModelRegistry, clock: Clock) -> None:
        self._store = store
        self._registry = registry
        self._clock = clock

    @again_when_stale
    def put(self, name: str, spec: DeploymentSpec) -> DeploymentView:
        """Create or replace a deployment; the same spec again changes nothing.

        Raises:
            InvalidRequest: the model or the alias is not there; says what is.
        """
        self._check(spec)
        now = self._clock.now()
        stored = self._store.get(name)
        if stored is None:
            wanted = Deployment(name, spec, created_at=now, updated_at=now, version=0)
        elif stored.spec == spec and stored.state is not DeploymentState.DELETING:
            return DeploymentView.of(stored)
        else:
            wanted = replace(stored, spec=spec, state=DeploymentState.DEPLOYING, message="", updated_at=now)
            if stored.spec.model != spec.model:
                # Version numbers mean nothing from one model to another.
                wanted = replace(wanted, target_version=None, served_version=None)
        return DeploymentView.of(self._store.save(wanted))

    def get(self, name: str) -> DeploymentView:
        """Show one deployment. Raises NotFound."""
        stored = self._store.get(name)
        if stored is None:
            raise NotFound(f"there is no deployment {name!r}{nearest(name, (one.name for one in self._store.list()))}")
        return DeploymentView.of(stored)

    def list(self) -> Sequence[DeploymentView]:
        """Show all deployments, by name."""
        return [DeploymentView.of(stored) for stored in self._store.list()]

    @again_when_stale
    def delete(self, name: str) -> None:
        """Ask for a deployment to go; nothing happens when it is going or gone."""
        stored = self._store.get(name)
        if stored is None or stored.state is DeploymentState.DELETING:
            return
        self._store.save(replace(stored, state=DeploymentState.DELETING, message="", updated_at=self._clock.now()))

    def _check(self, spec: DeploymentSpec) -> None:
        if self._registry.resolve(spec.model, spec.alias) is not None:
            return
        models = {model.name: model for model in self._registry.models()}
        if spec.model not in models:
            raise InvalidRequest(
                FieldProblem("model", f"no registered model {spec.model!r}{nearest(spec.model, models)}")
            )
        aliases = nearest(spec.alias, models[spec.model].aliases)
        hint = (
            f"model {spec.model!r} has no alias {spec.alias!r}{aliases} (POST /v1/models/{spec.model}/promote sets one)"
        )
        raise InvalidRequest(FieldProblem("alias", hint))
