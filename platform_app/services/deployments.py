"""Deployments: what should serve. The reconciler makes it so."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from platform_app.domain.deployment import Deployment, DeploymentState, Revision, RevisionState, next_number
from platform_app.domain.job import Event
from platform_app.domain.rollout import Phase, Rollout
from platform_app.domain.validation import nearest
from platform_app.errors import Conflict, FieldProblem, InvalidRequest, NotFound
from platform_app.ports import Clock, DeploymentStore, ModelRegistry
from platform_app.services.guarded import again_when_stale
from platform_app.serving_views import DeploymentView, RevisionView
from platform_app.specs import DeploymentSpec, ModelNode, walk
from platform_app.views import EventView


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
            Conflict: a rollout is under way.
        """
        self._check(spec)
        now = self._clock.now()
        stored = self._store.get(name)
        if stored is None:
            wanted = Deployment(name, spec, created_at=now, updated_at=now, version=0)
        elif stored.spec == spec and stored.state is not DeploymentState.DELETING:
            return self._view(stored)
        elif stored.active_rollout and stored.state is not DeploymentState.DELETING:
            raise Conflict(
                f"version {stored.active_rollout.candidate_version} is being rolled out to {name}: "
                f"wait for it, or end it: slipway rollback {name}"
            )
        else:
            # Its revision gets a number when it is applied.
            wanted = replace(stored, spec=spec, state=DeploymentState.DEPLOYING, message="", revision=0, updated_at=now)
            if stored.spec.model != spec.model:
                # Version numbers mean nothing from one model to another.
                wanted = replace(wanted, target_version=None, served_version=None, rollout=None)
        return self._view(self._store.save(wanted))

    def get(self, name: str) -> DeploymentView:
        """Show one deployment. Raises NotFound."""
        return self._view(self._stored(name))

    def list(self) -> Sequence[DeploymentView]:
        """Show all deployments, by name."""
        return [self._view(stored) for stored in self._store.list()]

    def events(self, name: str) -> Sequence[EventView]:
        """Show what happened under a name, oldest first. Raises NotFound where nothing ever has."""
        events = self._store.events(name)
        if not events:
            self._stored(name)
        return [EventView.of(event) for event in events]

    def revisions(self, name: str) -> Sequence[RevisionView]:
        """Show what was served under a name, newest first. Raises NotFound where nothing ever was."""
        found = self._store.revisions(name)
        if not found:
            self._stored(name)
        return [RevisionView.of(revision) for revision in found]

    @again_when_stale
    def rollback(self, name: str, to: int | None = None) -> DeploymentView:
        """Go back, alias and traffic: out of a rollout that is under way, else to a revision that has served.

        Args:
            name: a deployment.
            to: a revision; absent: the newest before the present one that served another version.

        Raises:
            NotFound: there is no such deployment or revision.
            Conflict: there is nothing to go back to, or a rollout is under way and `to` names a revision.
        """
        stored, now = self._stored(name), self._clock.now()
        rollout = stored.active_rollout
        if rollout and to not in (None, rollout.stable_revision):
            raise Conflict(f"a rollout to {name} is under way: end it first: slipway rollback {name}")
        if rollout is None:
            return self._view(self._back_to(stored, self._earlier(stored, to), now))
        if rollout.phase is Phase.ROLLING_BACK:
            return self._view(stored)
        ended = rollout.breached("operator", now, f"asked for after {rollout.exposed} requests")
        changed = stored.in_rollout(ended, now)
        return self._view(self._store.save(changed, [Event(now, "rolling-back", ended.message)]))

    def _earlier(self, stored: Deployment, to: int | None) -> Revision:
        known = self._store.revisions(stored.name)
        if to is not None:
            found = next((one for one in known if one.number == to), None)
            if found is None:
                raise NotFound(f"{stored.name} has no revision {to}: slipway revisions {stored.name}")
            return found
        earlier = (
            one
            for one in known
            if one.number < stored.revision
            and one.state is RevisionState.SERVED
            and (one.spec.model, one.model_version) != (stored.spec.model, stored.target_version)
        )
        if (last := next(earlier, None)) is None:
            raise Conflict(f"{stored.name} has served no other version before: there is nothing to go back to")
        return last

    def _back_to(self, stored: Deployment, earlier: Revision, now: datetime) -> Deployment:
        """Store that an earlier revision is to serve again, as a rollout that needs no evidence."""
        number = next_number(self._store.revisions(stored.name))
        message = f"back to revision {earlier.number}: version {earlier.model_version}"
        rollout = Rollout(
            revision=number,
            candidate_version=earlier.model_version,
            stable_version=stored.target_version or earlier.model_version,
            stable_revision=stored.revision,
            started_at=now,
            phase=Phase.PROMOTING,
            is_direct=True,
            message=message,
        )
        changed = replace(stored, spec=earlier.spec).in_rollout(rollout, now)
        event = Event(now, "rollback", f"revision {number}: {message}")
        revision = Revision(stored.name, number, earlier.model_version, earlier.spec, now)
        return self._store.save(changed, [event], revision)

    def _stored(self, name: str) -> Deployment:
        stored = self._store.get(name)
        if stored is None:
            raise NotFound(f"there is no deployment {name!r}{nearest(name, (one.name for one in self._store.list()))}")
        return stored

    def _view(self, deployment: Deployment) -> DeploymentView:
        return DeploymentView.of(deployment, self._clock.now())

    @again_when_stale
    def delete(self, name: str) -> None:
        """Ask for a deployment to go; nothing happens when it is going or gone."""
        stored = self._store.get(name)
        if stored is None or stored.state is DeploymentState.DELETING:
            return
        self._store.save(replace(stored, state=DeploymentState.DELETING, message="", updated_at=self._clock.now()))

    def _check(self, spec: DeploymentSpec) -> None:
        for node in walk(spec.graph) if spec.graph is not None else ():
            if isinstance(node, ModelNode):
                self._check_pinned("graph", node)
        for node in spec.multiplexed.models if spec.multiplexed is not None else ():
            self._check_pinned("multiplexed", node)
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

    def _check_pinned(self, field: str, node: ModelNode) -> None:
        known = [one.version for one in self._registry.versions(node.model) or ()]
        if node.version not in known:
            there = f"versions {', '.join(map(str, sorted(known)))}" if known else "no version"
            raise InvalidRequest(FieldProblem(field, f"model {node.model!r} has {there}; got version {node.version}"))
