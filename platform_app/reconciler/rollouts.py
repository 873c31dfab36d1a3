"""The rollouts' part of a pass: look, let the domain decide, record it, and put the aliases where they belong."""

import logging
from collections.abc import Iterator
from dataclasses import replace

from platform_app.domain.deployment import (
    CHALLENGER,
    CHAMPION,
    PREVIOUS,
    Deployment,
    Revision,
    RevisionState,
    next_number,
)
from platform_app.domain.job import Event
from platform_app.domain.rollout import Examined, Look, Phase, Rollout, Scores, advanced, begin, examined
from platform_app.errors import NotFound, PermanentError
from platform_app.ports import Clock, DeploymentStore, ModelRegistry, ModelServing, ServingObservation
from platform_app.specs import ServedModel

_log = logging.getLogger(__name__)

_ENDS = {Phase.SUCCEEDED: RevisionState.SERVED, Phase.ROLLED_BACK: RevisionState.ROLLED_BACK}


class Rollouts:
    """Takes rollouts from phase to phase. What it does may be done twice, and is continued from what is stored."""

    def __init__(self, store: DeploymentStore, serving: ModelServing, registry: ModelRegistry, clock: Clock) -> None:
        self._store = store
        self._serving = serving
        self._registry = registry
        self._clock = clock
        self._aliased: dict[str, tuple[int, Phase]] = {}
        """For which revision's phase this process has put the aliases right, by deployment."""

    def forget(self) -> None:
        """Take nothing for done any more."""
        self._aliased.clear()

    def begin(self, deployment: Deployment, candidate_version: int) -> Deployment:
        """Store that a rollout begins; `deployment` serves a stable version."""
        now, stable = self._clock.now(), (deployment.target_version or 0, deployment.revision)
        number = next_number(self._store.revisions(deployment.name))
        rollout = begin(number, candidate_version, stable, deployment.spec.rollout, now)
        event = Event(now, "rollout", f"revision {number}: {deployment.spec.rollout.strategy} of {rollout.message}")
        revision = Revision(deployment.name, number, candidate_version, deployment.spec, now)
        return self._store.save(deployment.in_rollout(rollout, now), [event], revision)

    def advance(self, deployment: Deployment, model: ServedModel, seen: ServingObservation | None) -> Deployment:
        """Give the deployment after a look at its rollout.

        Args:
            deployment: it has an active rollout.
            model: what was applied last.
            seen: how that is; None where it has not been applied yet, so that nothing can be said.
        """
        rollout = deployment.active_rollout
        if rollout is None or seen is None:
            return deployment
        after = advanced(rollout, deployment.spec.rollout, self._look(deployment, rollout, model, seen))
        return deployment if after == rollout else self._record(deployment, rollout, after)

    def _look(self, deployment: Deployment, rollout: Rollout, model: ServedModel, seen: ServingObservation) -> Look:
        return Look(
            now=self._clock.now(),
            stable_ready=seen.ready,
            stable_failed=seen.failed,
            candidate_ready=seen.candidate_ready,
            candidate_failed=seen.candidate_failed,
            message=seen.candidate_message or seen.message,
            examined=self._examined(deployment, model) if rollout.phase is Phase.EVALUATING else None,
            counts=tuple(self._serving.counts(model)) if rollout.phase is Phase.RUNNING else (),
            aliases_right=self._aliased.get(deployment.name) == (rollout.revision, rollout.phase),
        )

    def _examined(self, deployment: Deployment, model: ServedModel) -> Examined | None:
        evaluation = deployment.spec.rollout.guards.evaluation
        if evaluation is None:
            return Examined(True, "nothing to examine")
        try:
            scores = self._serving.examine(model)
        except PermanentError as error:
            scores = Scores(error=str(error))
        return None if scores is None else examined(evaluation, scores)

    def _record(self, deployment: Deployment, before: Rollout, after: Rollout) -> Deployment:
        now = self._clock.now()
        changed = deployment.in_rollout(after, now)
        tells = (after.phase, after.step) != (before.phase, before.step)
        events = [Event(now, after.phase.lower().replace("_", "-"), after.message)] if tells else []
        end = _ENDS.get(after.phase)
        served = Revision(deployment.name, after.revision, after.candidate_version, deployment.spec, now)
        return self._store.save(changed, events, replace(served, state=end) if end else None)

    def put_aliases(self, deployment: Deployment) -> bool:
        """Put the registry's aliases where the rollout's phase wants them; a second time changes nothing.

        Returns:
            Whether this was news: what was known of the aliases is then out of date.

        Raises:
            TemporaryError: the registry is away; traffic does not wait for it.
        """
        rollout = deployment.active_rollout
        if rollout is None or rollout.phase not in (Phase.PROMOTING, Phase.ROLLING_BACK):
            return False
        done = (rollout.revision, rollout.phase)
        if self._aliased.get(deployment.name) == done:
            return False
        model, alias = deployment.spec.model, deployment.spec.alias
        names = {name: self._registry.resolve(model, name) for name in (alias, CHALLENGER, PREVIOUS)}
        for name, version in _aliases(rollout, alias, names):
            try:
                self._registry.set_alias(model, name, version)
            except NotFound as error:
                _log.warning("%s: alias %s stays as it is: %s", deployment.name, name, error)
        self._aliased[deployment.name] = done
        return True


def _aliases(rollout: Rollout, alias: str, names: dict[str, int | None]) -> Iterator[tuple[str, int | None]]:
    """Say which aliases to move: the way back is put down first, and taken up last."""
    candidate = rollout.candidate_version
    if rollout.phase is Phase.PROMOTING:
        if alias == CHAMPION:
            yield PREVIOUS, rollout.stable_version
        yield alias, candidate
        if names[CHALLENGER] == candidate:
            yield CHALLENGER, None
        return
    if names[alias] == candidate:
        yield alias, rollout.stable_version
        if names[PREVIOUS] == rollout.stable_version:
            yield PREVIOUS, None
    if names[CHALLENGER] == candidate:
        yield CHALLENGER, None
