"""One pass over the deployments: follow the alias at once or by a rollout, apply, watch, delete."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from platform_app.domain.deployment import (
    CHALLENGER,
    Deployment,
    DeploymentState,
    Revision,
    RevisionState,
    next_number,
)
from platform_app.domain.job import Event
from platform_app.errors import PermanentError, TemporaryError
from platform_app.launch import served_model
from platform_app.ports import Clock, DeploymentStore, ModelRegistry, ModelServing, ServingObservation
from platform_app.reconciler.isolation import isolated
from platform_app.reconciler.rollouts import Rollouts
from platform_app.specs import ServedModel, Strategy, digest

_RESOLVE_EVERY = timedelta(seconds=5)
"""How long an alias's answer is believed; the longest time that a promotion goes unnoticed."""
_ASK_AGAIN = timedelta(minutes=1)
"""How long a refusal by Serve stands: what it was for, such as a package that was missing, may have been mended."""


class DeploymentPass:
    """Brings what serves nearer to what should. Everything it does may be done twice."""

    def __init__(
        self,
        store: DeploymentStore,
        serving: ModelServing,
        registry: ModelRegistry,
        tracking_uri: str,
        token_digests: Callable[[], tuple[str, ...]],
        clock: Clock,
    ) -> None:
        self._store = store
        self._serving = serving
        self._registry = registry
        self._tracking_uri = tracking_uri
        self._token_digests = token_digests
        self._clock = clock
        self._rollouts = Rollouts(store, serving, registry, clock)
        self._resolved: dict[tuple[str, str], tuple[datetime, int | None]] = {}
        self._applied: dict[str, str] = {}
        """Digest that this process itself handed to Serve, by deployment. What is stored is only the intent: whoever
        wrote it may have died before acting, and what is observed would then be the version before."""
        self._refused: dict[str, tuple[str, str, datetime]] = {}
        """Digest that Serve refused, why, and when it is asked again for the same, by deployment."""

    def forget(self) -> None:
        """Take nothing for done any more: another process may have acted meanwhile."""
        self._resolved.clear()
        self._applied.clear()
        self._refused.clear()
        self._rollouts.forget()

    def run(self, may_act: Callable[[], bool]) -> None:
        """Make one pass.

        Args:
            may_act: asked before each act; the pass ends when it says no.

        Raises:
            TemporaryError: the store or Serve is away.
        """
        wanted = self._store.list()
        seen = self._serving.observe()
        for deployment in wanted:
            if not may_act():
                return
            with isolated(f"deployment {deployment.name}"):
                self._follow(deployment, seen.get(deployment.name))
        for orphan in sorted(seen.keys() - {deployment.name for deployment in wanted}):
            if not may_act():
                return
            with isolated(f"deployment {orphan}"):
                self._serving.delete(orphan)

    def _follow(self, deployment: Deployment, seen: ServingObservation | None) -> None:
        if deployment.state is DeploymentState.DELETING:
            self._remove(deployment.name, seen)
            return
        deployment, trouble = self._decided(deployment, seen)
        if deployment.target_version is None:
            self._record(deployment, DeploymentState.FAILED, trouble)
            return
        model = self._model(deployment)
        now = self._clock.now()
        refused, why, until = self._refused.get(deployment.name, (None, "", now))
        if refused == digest(model) and now < until:
            self._record(deployment, DeploymentState.FAILED, why)
        elif seen is None or self._applied.get(deployment.name) != digest(model):
            self._apply(deployment, model, is_there=seen is not None)
        elif trouble:
            message = f"{trouble}; version {deployment.target_version} keeps serving"
            self._record(deployment, DeploymentState.FAILED, message, seen.ready)
        else:
            self._tell(deployment, seen)
        if self._rollouts.put_aliases(deployment):
            self._resolved.clear()

    def _model(self, deployment: Deployment) -> ServedModel:
        return served_model(deployment, self._tracking_uri, self._token_digests())

    def _tell(self, deployment: Deployment, seen: ServingObservation) -> None:
        """Record how what was applied last is."""
        if seen.ready:
            is_said_by_rollout = deployment.active_rollout or (deployment.rollout and deployment.rollout.guard)
            self._record(deployment, DeploymentState.READY, deployment.message if is_said_by_rollout else "", True)
        elif seen.failed:
            self._record(deployment, DeploymentState.FAILED, seen.message)
        elif deployment.state is not DeploymentState.READY:
            # What is READY goes on answering while a rollout's share, or the tokens, are on their way to the replicas.
            self._record(deployment, DeploymentState.DEPLOYING, seen.message)

    def _decided(self, deployment: Deployment, seen: ServingObservation | None) -> tuple[Deployment, str]:
        """Give the deployment with what its rollout or its alias decides, and what is wrong, for a person."""
        if deployment.active_rollout and deployment.target_version:
            model = self._model(deployment)
            is_applied = self._applied.get(deployment.name) == digest(model)
            return self._rollouts.advance(deployment, model, seen if is_applied else None), ""
        spec = deployment.spec
        try:
            wanted = self._resolve(spec.model, spec.alias)
            if wanted is None:
                return self._retargeted(deployment, deployment.target_version), (
                    f"model {spec.model!r} has no alias {spec.alias!r} any more"
                )
            if spec.rollout.strategy is Strategy.IMMEDIATE or deployment.served_version is None:
                return self._retargeted(deployment, wanted), ""
            deployment = self._retargeted(deployment, deployment.target_version)
            # An alias that someone moved by hand is evidence of nothing: it is tried as a challenger is.
            tried = wanted if wanted != deployment.target_version else self._resolve(spec.model, CHALLENGER)
        except TemporaryError as error:
            # What serves goes on serving; there is nothing wrong with the deployment.
            deployment = self._retargeted(deployment, deployment.target_version)
            return deployment, "" if deployment.target_version else f"waits for the registry: {error}"
        if tried is None or tried == deployment.target_version:
            return deployment, ""
        return self._rollouts.begin(deployment, tried), ""

    def _retargeted(self, deployment: Deployment, version: int | None) -> Deployment:
        """Save that the stable replicas are to be this version with the present spec, where that is news."""
        if version is None or (version == deployment.target_version and deployment.revision):
            return deployment
        now, number = self._clock.now(), next_number(self._store.revisions(deployment.name))
        message = f"version {version} is being deployed"
        changed = replace(
            deployment,
            target_version=version,
            revision=number,
            state=DeploymentState.DEPLOYING,
            message=message,
            updated_at=now,
        )
        event = Event(now, "revision", f"revision {number}: {message}")
        return self._store.save(changed, [event], Revision(deployment.name, number, version, deployment.spec, now))

    def _resolve(self, model: str, alias: str) -> int | None:
        now, key = self._clock.now(), (model, alias)
        asked_at, version = self._resolved.get(key, (None, None))
        if asked_at is None or now - asked_at >= _RESOLVE_EVERY:
            version = self._registry.resolve(*key)
            self._resolved[key] = (now, version)
        return version

    def _apply(self, deployment: Deployment, model: ServedModel, is_there: bool) -> None:
        """Hand to Serve what is stored as intended."""
        name = deployment.name
        if not is_there:
            message = f"version {model.version} is being deployed"
            deployment = self._write(deployment, state=DeploymentState.DEPLOYING, message=message)
        try:
            self._serving.apply(model)
        except PermanentError as error:
            why = f"version {model.version} was refused: {error}"
            self._refused[name] = digest(model), why, self._clock.now() + _ASK_AGAIN
            self._record(deployment, DeploymentState.FAILED, why)
        else:
            self._refused.pop(name, None)
            self._applied[name] = digest(model)

    def _remove(self, name: str, seen: ServingObservation | None) -> None:
        self._applied.pop(name, None)
        self._refused.pop(name, None)
        if seen is None:
            self._store.delete(name)
        else:
            self._serving.delete(name)

    def _record(self, deployment: Deployment, state: DeploymentState, message: str, is_served: bool = False) -> None:
        served = deployment.target_version if is_served else deployment.served_version
        changed = replace(deployment, state=state, message=message, served_version=served)
        if changed == deployment:
            return
        now = self._clock.now()
        events = [Event(now, state, message)] if state is not deployment.state else []
        revision = None
        if is_served and deployment.revision and not deployment.active_rollout:
            revision = Revision(
                deployment.name, deployment.revision, served or 0, deployment.spec, now, RevisionState.SERVED
            )
        self._store.save(replace(changed, updated_at=now), events, revision)

    def _write(self, deployment: Deployment, **changes: Any) -> Deployment:
        """Save a deployment where something about it changed."""
        changed = replace(deployment, **changes)
        if changed == deployment:
            return deployment
        return self._store.save(replace(changed, updated_at=self._clock.now()))
