"""The platform as a Python object: one method for each thing that the HTTP API can do."""

import time
import uuid
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, TypeVar

import yaml

from platform_app.client.functions import carried
from platform_app.client.packaging import git_commit, packed
from platform_app.client.progress import live
from platform_app.client.results import Table, Trials
from platform_app.client.teams import TeamCalls
from platform_app.domain.deployment import DeploymentState
from platform_app.domain.job import JobState
from platform_app.errors import FieldProblem, InvalidRequest, TemporaryError
from platform_app.plans import ExplanationView, PlanView
from platform_app.serving_views import DeploymentView, LineageView, RevisionView
from platform_app.specs import AnyJobSpec, DeploymentSpec, PromotionSpec, RollbackSpec, Spec
from platform_app.views import (
    ClusterView,
    EventView,
    JobView,
    ModelVersionView,
    ModelView,
    Page,
    TrialView,
)

SpecLike = AnyJobSpec | Mapping[str, Any] | str | Path
"""A spec, its fields (of which `workload` and `train_loop` may be functions), or the path of a YAML file."""

_POLL_SECONDS = 1.0
_PATIENCE_SECONDS = 60.0

T = TypeVar("T")


class Platform(TeamCalls):
    """A Slipway platform. Methods raise `ApiError` where the platform refuses and `TemporaryError` where it is away."""

    # Jobs

    def submit(
        self, spec: SpecLike, working_dir: Path | str | None = None, idempotency_key: str | None = None
    ) -> JobView:
        """Submit a job and give it back as stored; it runs when there is room.

        Args:
            spec: what to run. A function in it that can be imported goes by its name, any other by value.
            working_dir: a directory that goes along; the job runs in a copy of it.
            idempotency_key: submitting again with the same key gives the first job; made up when absent, so that a
                connection that breaks here and is retried cannot submit twice.

        Raises:
            InvalidRequest: a function cannot go along; the message says what it holds that cannot.
        """
        headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
        body = self._with_package(spec, working_dir)
        return JobView.model_validate(self._json("POST", "/v1/jobs", json=body, headers=headers))

    def plan(self, spec: SpecLike, working_dir: Path | str | None = None, hours: float | None = None) -> PlanView:
        """Say what a submission would run, where, when and for how much (for so many hours), without running it."""
        params = {"dry_run": "true", **({"hours": hours} if hours else {})}
        body = self._with_package(spec, working_dir)
        return PlanView.model_validate(self._json("POST", "/v1/jobs", json=body, params=params))

    def jobs(
        self,
        states: tuple[JobState, ...] = (),
        kind: str | None = None,
        name: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[JobView]:
        """List a page of jobs, newest first."""
        wanted = {"state": [*states], "kind": kind, "name": name, "limit": limit, "cursor": cursor}
        params = {key: value for key, value in wanted.items() if value}
        return Page[JobView].model_validate(self._json("GET", "/v1/jobs", params=params))

    def job(self, job_id: str) -> JobView:
        """Read one job."""
        return JobView.model_validate(self._json("GET", f"/v1/jobs/{job_id}"))

    def events(self, job_id: str) -> Table[EventView]:
        """Read what happened to a job, oldest first."""
        return self._table(EventView, f"/v1/jobs/{job_id}/events")

    def explain(self, job_id: str) -> ExplanationView:
        """Say why a job waits, what it does or why it ended, what would change that and what it costs."""
        return ExplanationView.model_validate(self._json("GET", f"/v1/jobs/{job_id}/explain"))

    def trials(self, job_id: str) -> Trials:
        """Read a sweep's trials, oldest first: a table in a notebook, `to_pandas()` for a frame, `best()` for one."""
        objective = getattr(self.job(job_id).spec, "objective", None)  # a command has none
        return Trials(self._table(TrialView, f"/v1/jobs/{job_id}/trials"), objective)

    def best(self, job_id: str) -> TrialView:
        """Read a sweep's best trial by its objective. Raises NotFound before any has reported it."""
        return self.trials(job_id).best()

    def stop(self, job_id: str) -> JobView:
        """Ask a job to stop; a second time is the same as once."""
        return JobView.model_validate(self._json("POST", f"/v1/jobs/{job_id}/stop"))

    def logs(self, job_id: str, follow: bool = False, attempt: int | None = None) -> Iterator[str]:
        """Read a job's output in pieces; following, until it ends, through restarts of the platform and of the job.

        Args:
            job_id: which job.
            follow: go on until the job ends, or the attempt that was asked for.
            attempt: which attempt; absent: the newest, and when following those after it.

        Raises:
            TemporaryError: the platform did not come back for two minutes.
        """
        if not follow:
            params = {"attempt": attempt} if attempt else {}
            yield self._connection.send("GET", f"/v1/jobs/{job_id}/logs", params=params).text
            return
        following = attempt
        while True:
            number = yield from self._follow(job_id, following)
            job = self.job(job_id)
            while not job.state.is_terminal and len(job.attempts) <= number:
                time.sleep(_POLL_SECONDS)
                job = self.job(job_id)
            if attempt or len(job.attempts) <= number:
                return
            following = number + 1

    def _follow(self, job_id: str, attempt: int | None) -> Generator[str, None, int]:
        """Follow one attempt to its end and give its number; a stream that breaks is resumed where it broke."""
        offset, deadline = 0, time.monotonic() + _PATIENCE_SECONDS
        while True:
            params = {"follow": "true", "offset": offset, **({"attempt": attempt} if attempt else {})}
            try:
                with self._connection.stream(f"/v1/jobs/{job_id}/logs", **params) as answer:
                    attempt = int(answer.headers["Slipway-Attempt"])
                    for text in answer.iter_text():
                        offset += len(text.encode())
                        deadline = time.monotonic() + _PATIENCE_SECONDS
                        yield text
                return attempt
            except TemporaryError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_POLL_SECONDS)

    def wait(
        self, job_id: str, timeout: float | None = None, on_change: Callable[[JobView], None] | None = None
    ) -> JobView:
        """Wait until a job has ended, and give it. A terminal and a notebook show its progress meanwhile.

        Args:
            job_id: which job.
            timeout: seconds; None waits as long as it takes.
            on_change: called with the job each time it was looked at, instead of the progress bar.

        Raises:
            TimeoutError: it has not ended in time; it goes on all the same.
        """
        with nullcontext(on_change) if on_change else live() as show:

            def look() -> JobView | None:
                job = self.job(job_id)
                show(job)
                return job if job.state.is_terminal else None

            return _poll(look, timeout, f"job {job_id} has not ended")

    # Models

    def models(self) -> Table[ModelView]:
        """List registered models."""
        return self._table(ModelView, "/v1/models")

    def versions(self, model: str) -> Table[ModelVersionView]:
        """List a model's versions, newest first."""
        return self._table(ModelVersionView, f"/v1/models/{model}/versions")

    def promote(self, model: str, version: int | None = None) -> ModelView:
        """Make a version (the newest without one) the champion; the old champion is kept for the way back.

        Where a deployment takes new versions by a rollout, the version becomes `challenger`, and is tried first.
        """
        body = PromotionSpec(version=version).model_dump()
        return ModelView.model_validate(self._json("POST", f"/v1/models/{model}/promote", json=body))

    def rollback(self, model: str) -> ModelView:
        """Make the previous champion the champion again."""
        answer = self._connection.send("POST", f"/v1/models/{model}/rollback", repeatable=False)
        return ModelView.model_validate(answer.json())

    # Deployments

    def deploy(self, name: str, spec: DeploymentSpec) -> DeploymentView:
        """Create or change a deployment; it answers when it is READY."""
        return DeploymentView.model_validate(
            self._json("PUT", f"/v1/deployments/{name}", json=spec.model_dump(mode="json"))
        )

    def deployments(self) -> Table[DeploymentView]:
        """List deployments."""
        return self._table(DeploymentView, "/v1/deployments")

    def deployment(self, name: str) -> DeploymentView:
        """Read one deployment."""
        return DeploymentView.model_validate(self._json("GET", f"/v1/deployments/{name}"))

    def rollback_deployment(self, name: str, revision: int | None = None) -> DeploymentView:
        """End a deployment's rollout, or serve a former revision again: the newest of another version without one."""
        body = RollbackSpec(revision=revision).model_dump()
        path = f"/v1/deployments/{name}/rollback"
        return DeploymentView.model_validate(self._connection.send("POST", path, repeatable=False, json=body).json())

    def deployment_events(self, name: str) -> Table[EventView]:
        """Read what happened to a deployment, oldest first."""
        return self._table(EventView, f"/v1/deployments/{name}/events")

    def revisions(self, name: str) -> Table[RevisionView]:
        """Read what was ever served under a name, newest first."""
        return self._table(RevisionView, f"/v1/deployments/{name}/revisions")

    def lineage(self, name: str, revision: int) -> LineageView:
        """Trace a deployment's revision back to what made it."""
        return LineageView.model_validate(self._json("GET", f"/v1/deployments/{name}/revisions/{revision}/lineage"))

    def job_revisions(self, job_id: str) -> Table[RevisionView]:
        """Trace a job on to the revisions that served what it made, newest first."""
        return self._table(RevisionView, f"/v1/jobs/{job_id}/revisions")

    def wait_rollout(
        self, name: str, timeout: float | None = None, on_change: Callable[[DeploymentView], None] | None = None
    ) -> DeploymentView:
        """Wait until a deployment's rollout is over, and give the deployment; one without a rollout is given at once.

        Raises:
            TimeoutError: it is not over in time; it goes on all the same.
        """

        def look() -> DeploymentView | None:
            deployment = self.deployment(name)
            if on_change:
                on_change(deployment)
            return deployment if deployment.rollout is None or deployment.rollout.phase.is_over else None

        return _poll(look, timeout, f"the rollout of {name} is not over")

    def undeploy(self, name: str) -> None:
        """Delete a deployment; nothing happens when it is gone already."""
        self._connection.send("DELETE", f"/v1/deployments/{name}")

    def wait_deployed(self, name: str, version: int | None = None, timeout: float | None = None) -> DeploymentView:
        """Wait until a deployment answers (with the given model version), or has failed, and give it.

        Raises:
            TimeoutError: neither happened in time.
        """

        def look() -> DeploymentView | None:
            deployment = self.deployment(name)
            if deployment.state is DeploymentState.FAILED:
                return deployment
            answers = deployment.state is DeploymentState.READY
            return deployment if answers and version in (None, deployment.served_version) else None

        return _poll(look, timeout, f"deployment {name} is not ready")

    def predict(self, deployment: str, inputs: Mapping[str, Any], model: str = "") -> dict[str, list[Any]]:
        """Ask a deployment for predictions by the Open Inference Protocol v2.

        Args:
            deployment: its name.
            inputs: NumPy arrays by input name; the deployment's metadata lists names, dtypes and shapes.
            model: one of the models that are multiplexed there; empty: the deployment's own.

        Returns:
            Flat lists of values, in row-major order, by output name.
        """
        body = {
            "inputs": [
                {"name": name, "shape": list(array.shape), "datatype": _datatype(array), "data": array.ravel().tolist()}
                for name, array in inputs.items()
            ]
        }
        headers = {"serve-multiplexed-model-id": model} if model else {}
        answer = self._json("POST", f"/v2/models/{deployment}/infer", json=body, headers=headers)
        return {output["name"]: output["data"] for output in answer["outputs"]}

    # Cluster

    def cluster(self) -> ClusterView:
        """Count the workers of every worker group."""
        return ClusterView.model_validate(self._json("GET", "/v1/cluster"))

    def _with_package(self, spec: SpecLike, working_dir: Path | str | None) -> dict[str, Any]:
        sent = carried(_fields(spec), has_working_dir=working_dir is not None)
        if working_dir is None and not sent.files:
            return dict(sent.fields)
        with packed(Path(working_dir) if working_dir else None, sent.files) as file:
            chunks = file.read()
        answer = self._json("POST", "/v1/packages", content=chunks, headers={"Content-Type": "application/zip"})
        commit = sent.fields.get("git_commit") or (git_commit(Path(working_dir)) if working_dir else None)
        return {**sent.fields, "working_dir": answer["package"], "git_commit": commit}


def _fields(spec: SpecLike) -> dict[str, Any]:
    if isinstance(spec, Spec):
        return spec.model_dump(mode="json")
    if isinstance(spec, Mapping):
        fields = spec
    else:
        with Path(spec).open() as file:  # an open file, so that YAML's complaints name it
            fields = yaml.safe_load(file)
    if not isinstance(fields, Mapping):
        raise InvalidRequest(FieldProblem(str(spec), "expected a mapping of fields to values"))
    return {"kind": "train", **fields}


def _datatype(array: Any) -> str:
    kinds = {"f": "FP", "i": "INT", "u": "UINT"}
    kind = array.dtype.kind
    return f"{kinds[kind]}{8 * array.dtype.itemsize}" if kind in kinds else ("BOOL" if kind == "b" else "BYTES")


def _poll(look: Callable[[], T | None], timeout: float | None, complaint: str) -> T:
    deadline = None if timeout is None else time.monotonic() + timeout
    while (found := look()) is None:
        if deadline is not None and time.monotonic() > deadline:
            raise TimeoutError(f"{complaint} after {timeout:g} s")
        time.sleep(_POLL_SECONDS)
    return found
