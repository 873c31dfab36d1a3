"""One pass over the deployments: follow the alias, apply, watch, delete."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from platform_app.domain.deployment import Deployment, DeploymentState
from platform_app.errors import PermanentError, TemporaryError
from platform_app.launch import served_model
from platform_app.ports import Clock, DeploymentStore, ModelRegistry, ModelServing, ServingObservation
from platform_app.reconciler.isolation import isolated
from platform_app.specs import DeploymentSpec, ServedModel, digest

_RESOLVE_EVERY = timedelta(seconds=5)
"""How long an alias's answer is believed; the longest time that a promotion goes unnoticed."""


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
        self._resolved: dict[tuple[str, str], tuple[datetime, int | None]] = {}
        self._applied: dict[str, str] = {}
        """Digest that this process itself handed to Serve, by deployment. The stored one is only the intent: whoever
        wrote it may have died before acting, and what is observed would then be the version before."""
        self._refused: dict[str, tuple[str, str]] = {}
        """Digest that Serve refused, and why, by deployment; it is not asked again for the same."""

    def forget(self) -> None:
        """Take nothing for done any more: another process may have acted meanwhile."""
        self._resolved.clear()
        self._applied.clear()
        self._refused.clear()

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
        version, trouble = self._version(deployment)
        if version is None:
            self._record(deployment, DeploymentState.FAILED, trouble)
            return
        model = served_model(deployment, version, self._tracking_uri, self._token_digests())
        refused, why = self._refused.get(deployment.name, (None, ""))
        if refused == digest(model):
            self._record(deployment, DeploymentState.FAILED, why)
        elif seen is None or self._applied.get(deployment.name) != digest(model):
            self._apply(deployment, model, is_there=seen is not None)
        elif trouble:
            self._record(deployment, DeploymentState.FAILED, f"{trouble}; version {version} keeps serving", seen.ready)
        elif seen.ready:
            self._record(deployment, DeploymentState.READY, "", is_served=True)
        else:
            state = DeploymentState.FAILED if seen.failed else DeploymentState.DEPLOYING
            self._record(deployment, state, seen.message)

    def _version(self, deployment: Deployment) -> tuple[int | None, str]:
        """Give the version to serve, the last known where the alias tells none, and what is wrong for a person."""
        spec = deployment.spec
        try:
            version = self._resolve(spec)
        except TemporaryError as error:
            # What serves goes on serving; there is nothing wrong with the deployment.
            return deployment.target_version, "" if deployment.target_version else f"waits for the registry: {error}"
        if version is None:
            return deployment.target_version, f"model {spec.model!r} has no alias {spec.alias!r} any more"
        return version, ""

    def _resolve(self, spec: DeploymentSpec) -> int | None:
        now, key = self._clock.now(), (spec.model, spec.alias)
        asked_at, version = self._resolved.get(key, (None, None))
        if asked_at is None or now - asked_at >= _RESOLVE_EVERY:
            version = self._registry.resolve(*key)
            self._resolved[key] = (now, version)
        return version

    def _apply(self, deployment: Deployment, model: ServedModel, is_there: bool) -> None:
        """Save what is intended, then hand it to Serve."""
        name, content = deployment.name, digest(model)
        if not is_there or deployment.applied_digest != content:
            deployment = self._write(
                deployment,
                state=DeploymentState.DEPLOYING,
                message=f"version {model.version} is being deployed",
                target_version=model.version,
                applied_digest=content,
            )
        try:
            self._serving.apply(model)
        except PermanentError as error:
            self._refused[name] = (content, f"version {model.version} was refused: {error}")
            self._record(deployment, DeploymentState.FAILED, self._refused[name][1])
        else:
            self._applied[name] = content

    def _remove(self, name: str, seen: ServingObservation | None) -> None:
        self._applied.pop(name, None)
        self._refused.pop(name, None)
        if seen is None:
            self._store.delete(name)
        else:
            self._serving.delete(name)

    def _record(self, deployment: Deployment, state: DeploymentState, message: str, is_served: bool = False) -> None:
        served = deployment.target_version if is_served else deployment.served_version
        self._write(deployment, state=state, message=message, served_version=served)

    def _write(self, deployment: Deployment, **changes: Any) -> Deployment:
        """Save a deployment where something about it changed."""
        changed = replace(deployment, **changes)
        if changed == deployment:
            return deployment
        return self._store.save(replace(changed, updated_at=self._clock.now()))
