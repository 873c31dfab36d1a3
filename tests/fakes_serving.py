"""Fakes of what is remote in serving: the model registry and Ray Serve. They pass the adapters' contract tests."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from platform_app.domain.rollout import Scores
from platform_app.errors import NotFound
from platform_app.ports import Prediction, ServingObservation
from platform_app.serving_views import OriginView
from platform_app.specs import ServedModel, SplitCounts
from platform_app.views import ModelVersionView, ModelView, TrialView

_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class FakeRegistry:
    """A `ModelRegistry` in memory; `add_version` and `add_trial` are what training does in MLflow."""

    def __init__(self) -> None:
        self._versions: dict[str, list[ModelVersionView]] = {}
        self._aliases: dict[str, dict[str, int]] = {}
        self._trials: dict[tuple[str, str], list[TrialView]] = {}

    def add_version(self, name: str, job_id: str | None = None, metrics: dict[str, float] | None = None) -> int:
        """Register the next version of a model, made by a job's run, and give its number."""
        known = self._versions.setdefault(name, [])
        self._aliases.setdefault(name, {})
        number = len(known) + 1
        known.append(
            ModelVersionView(
                version=number,
                run_id=f"{name}-run-{number}",
                job_id=job_id,
                created_at=_EPOCH + timedelta(seconds=number),
                aliases=(),
                metrics=metrics or {},
            )
        )
        return number

    def add_trial(self, experiment: str, job_id: str, params: dict[str, str], metrics: dict[str, float]) -> None:
        """Record an ended trial of a sweep."""
        trials = self._trials.setdefault((experiment, job_id), [])
        started = _EPOCH + timedelta(seconds=len(trials))
        trials.append(
            TrialView(
                run_id=f"{job_id}-trial-{len(trials)}",
                name=f"trial-{len(trials)}",
                status="FINISHED",
                params=params,
                metrics=metrics,
                started_at=started,
                ended_at=started + timedelta(seconds=1),
            )
        )

    def models(self) -> list[ModelView]:
        return [
            ModelView(name=name, latest_version=versions[-1].version, aliases=dict(self._aliases[name]))
            for name, versions in sorted(self._versions.items())
        ]

    def versions(self, name: str) -> list[ModelVersionView] | None:
        if name not in self._versions:
            return None
        aliases = self._aliases[name].items()
        return [
            version.model_copy(
                update={"aliases": tuple(sorted(alias for alias, number in aliases if number == version.version))}
            )
            for version in reversed(self._versions[name])
        ]

    def resolve(self, name: str, alias: str) -> int | None:
        return self._aliases.get(name, {}).get(alias)

    def set_alias(self, name: str, alias: str, version: int | None) -> None:
        if version is None:
            self._aliases.get(name, {}).pop(alias, None)
        elif version > len(self._versions.get(name, [])):
            raise NotFound(f"model {name} has no version {version}")
        else:
            self._aliases[name][alias] = version

    def origin(self, name: str, version: int) -> OriginView | None:
        known = {one.version: one for one in self._versions.get(name, [])}
        if version not in known:
            return None
        run_id, job_id = known[version].run_id, known[version].job_id
        commit = "c0ffee" if job_id else None
        return OriginView(model=name, version=version, run_id=run_id, job_id=job_id, commit=commit)

    def trials(self, experiment: str, job_id: str) -> list[TrialView]:
        return list(self._trials.get((experiment, job_id), []))


class FakeServing:
    """A `ModelServing` in memory. What was applied becomes ready, or fails, when the test says so."""

    def __init__(self) -> None:
        self.applied: dict[str, ServedModel] = {}
        self.counted: dict[str, list[SplitCounts]] = {}
        """What the stable replicas have counted, by deployment."""
        self.scores: Scores | None = None
        """What examinations find."""
        self._observations: dict[str, ServingObservation] = {}

    def become_ready(self, deployment: str) -> None:
        """Let the stable version applied last answer, and the candidate beside it."""
        has_candidate = self.applied[deployment].candidate is not None
        self._observations[deployment] = ServingObservation(ready=True, failed=False, candidate_ready=has_candidate)

    def become_failed(self, deployment: str, message: str) -> None:
        """Let the version applied last fail to start."""
        self._observations[deployment] = ServingObservation(ready=False, failed=True, message=message)

    def candidate_becomes_failed(self, deployment: str, message: str) -> None:
        """Let the candidate fail to start, while the stable version answers."""
        self._observations[deployment] = ServingObservation(
            ready=True, failed=False, candidate_failed=True, candidate_message=message
        )

    def forget_all(self) -> None:
        """Lose everything, as with a new cluster."""
        self.applied.clear()
        self._observations.clear()

    def apply(self, model: ServedModel) -> None:
        if self.applied.get(model.deployment) != model:
            self.applied[model.deployment] = model
            self._observations[model.deployment] = ServingObservation(ready=False, failed=False)

    def observe(self) -> dict[str, ServingObservation]:
        return dict(self._observations)

    def counts(self, model: ServedModel) -> list[SplitCounts]:
        return self.counted.get(model.deployment, [])

    def examine(self, model: ServedModel) -> Scores | None:
        return self.scores

    def delete(self, deployment: str) -> None:
        self.applied.pop(deployment, None)
        self._observations.pop(deployment, None)


class FakePredictions:
    """A `ModelPredictions` that answers what the test says."""

    def __init__(self) -> None:
        self.answer = Prediction(200, b'{"predictions": []}', "", {"slipway-model-version": "1"})
        self.asked: list[tuple[str, bytes]] = []
        self.headers: dict[bytes, bytes] = {}

    async def predict(self, deployment: str, rows: bytes, headers: Sequence[tuple[bytes, bytes]]) -> Prediction:
        self.asked.append((deployment, rows))
        self.headers = dict(headers)
        return self.answer
