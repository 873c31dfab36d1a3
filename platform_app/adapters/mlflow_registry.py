"""The model registry and the runs of sweeps, read from MLflow and never copied.

Each question takes a fixed number of MLflow's calls, however many versions or trials there are.
"""

import os
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from platform_app.errors import NotFound, PermanentError, TemporaryError
from platform_app.serving_views import OriginView
from platform_app.views import ModelVersionView, ModelView, TrialView

JOB_TAG = "slipway.job_id"
"""On a run and on a model version: the job that made it."""

_PARENT_TAG = "mlflow.parentRunId"

# A person waits for the answer: by default MLflow's client tries for minutes.
_IMPATIENT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "5"}

_ABSENT = frozenset({"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"})  # the latter for names that cannot be
_AWAY = frozenset({"INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED", "DEADLINE_EXCEEDED"})


class MlflowRegistry:
    """The port `ModelRegistry` over MLflow's client.

    MLflow is imported at the first question, which takes seconds. Its client reads how patient to be from the
    process's environment; what the operator has set there wins.
    """

    def __init__(self, tracking_uri: str) -> None:
        self._tracking_uri = tracking_uri
        for name, value in _IMPATIENT.items():
            os.environ.setdefault(name, value)

    @cached_property
    def _client(self) -> Any:
        from mlflow import MlflowClient

        return MlflowClient(self._tracking_uri, self._tracking_uri)

    def models(self) -> Sequence[ModelView]:
        """List registered models, by name."""
        with _mapped():
            found = _all(self._client.search_registered_models)
        views = (ModelView(name=model.name, latest_version=_latest(model), aliases=_aliases(model)) for model in found)
        return sorted(views, key=lambda view: view.name)

    def versions(self, name: str) -> Sequence[ModelVersionView] | None:
        """List versions, newest first; None when there is no such model."""
        model = self._model(name)
        if model is None:
            return None
        with _mapped():
            found = _all(self._client.search_model_versions, filter_string=f"name = {_quoted(name)}")
            metrics = self._metrics({version.run_id for version in found if version.run_id})
        aliases = _aliases(model)
        views = [
            ModelVersionView(
                version=int(version.version),
                run_id=version.run_id or None,
                job_id=version.tags.get(JOB_TAG),
                created_at=_moment(version.creation_timestamp),
                aliases=tuple(sorted(alias for alias, number in aliases.items() if number == int(version.version))),
                metrics=metrics.get(version.run_id, {}),
            )
            for version in found
        ]
        return sorted(views, key=lambda view: view.version, reverse=True)

    def resolve(self, name: str, alias: str) -> int | None:
        """Give the version that an alias names; None when the model or the alias is not there."""
        model = self._model(name)
        return None if model is None else _aliases(model).get(alias)

    def set_alias(self, name: str, alias: str, version: int | None) -> None:
        """Point an alias at a version; None takes the alias away. Raises NotFound for a version that is not there."""
        try:
            with _mapped():
                if version is None:
                    self._client.delete_registered_model_alias(name, alias)
                else:
                    self._client.set_registered_model_alias(name, alias, str(version))
        except _Absent as error:
            if version is not None:
                raise NotFound(f"model {name} has no version {version}") from error

    def origin(self, name: str, version: int) -> OriginView | None:
        """Say what made a version, from its tags and those of its run; None when there is no such version."""
        try:
            with _mapped():
                found = self._client.get_model_version(name, str(version))
                tags = self._client.get_run(found.run_id).data.tags if found.run_id else {}
        except _Absent:
            return None
        tags = {**tags, **found.tags}
        attempt = tags.get("slipway.attempt", "")
        return OriginView(
            model=name,
            version=version,
            run_id=found.run_id or None,
            job_id=tags.get(JOB_TAG),
            attempt=int(attempt) if attempt.isdecimal() else None,
            spec_digest=tags.get("slipway.spec_digest"),
            commit=tags.get("mlflow.source.git.commit"),
        )

    def trials(self, experiment: str, job_id: str) -> Sequence[TrialView]:
        """List a sweep's trials, oldest first: the child runs of the run that carries the job's id."""
        with _mapped():
            found = self._client.get_experiment_by_name(experiment)
            if found is None:
                return []
            own = self._runs([found.experiment_id], f"tags.`{JOB_TAG}` = {_quoted(job_id)}")
            children = [
                child
                for run in own
                if _PARENT_TAG not in run.data.tags
                for child in self._runs([found.experiment_id], f"tags.`{_PARENT_TAG}` = {_quoted(run.info.run_id)}")
            ]
        return sorted(map(_trial, children), key=lambda view: (view.started_at, view.run_id))

    def _model(self, name: str) -> Any:
        try:
            with _mapped():
                return self._client.get_registered_model(name)
        except _Absent:
            return None

    def _metrics(self, run_ids: set[str]) -> Mapping[str, Mapping[str, float]]:
        if not run_ids:
            return {}
        experiments = [experiment.experiment_id for experiment in _all(self._client.search_experiments)]
        wanted = ", ".join(map(_quoted, sorted(run_ids)))
        runs = self._runs(experiments, f"attributes.run_id IN ({wanted})")
        return {run.info.run_id: run.data.metrics for run in runs}

    def _runs(self, experiment_ids: Sequence[str], filter_string: str) -> list[Any]:
        return _all(self._client.search_runs, experiment_ids=experiment_ids, filter_string=filter_string)


class _Absent(Exception):
    """MLflow says that there is no such thing."""


@contextmanager
def _mapped() -> Iterator[None]:
    """Turn MLflow's errors into the platform's."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if error.error_code in _ABSENT:
            raise _Absent(str(error)) from error
        if error.error_code in _AWAY:
            raise TemporaryError(f"MLflow does not answer: {_short(error)}") from error
        raise PermanentError(f"MLflow refused: {_short(error)}") from error


def _short(error: Exception) -> str:
    return textwrap.shorten(str(error), width=200)


def _all(search: Callable[..., Any], **arguments: Any) -> list[Any]:
    """Read every page of one of MLflow's searches."""
    found: list[Any] = []
    token = None
    while True:
        page = search(**arguments, page_token=token)
        found.extend(page)
        token = page.token
        if not token:
            return found


def _quoted(text: str) -> str:
    """Write a value of MLflow's filter language, which knows two quotes and no escapes."""
    if "'" not in text:
        return f"'{text}'"
    if '"' not in text:
        return f'"{text}"'
    raise PermanentError(f"MLflow cannot search for a name that holds both kinds of quotes: {text}")


def _latest(model: Any) -> int | None:
    return max((int(version.version) for version in model.latest_versions or ()), default=None)


def _aliases(model: Any) -> dict[str, int]:
    return {alias: int(version) for alias, version in model.aliases.items()}


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def _trial(run: Any) -> TrialView:
    return TrialView(
        run_id=run.info.run_id,
        name=run.info.run_name or run.info.run_id,
        status=run.info.status,
        params=run.data.params,
        metrics=run.data.metrics,
        started_at=_moment(run.info.start_time),
        ended_at=_moment(run.info.end_time) if run.info.end_time else None,
    )
