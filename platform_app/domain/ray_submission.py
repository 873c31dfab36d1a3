"""What Ray's own clients submit, as a command of ours: a pure translation.

The fields are those of `ray.dashboard.modules.job.common.JobSubmitRequest` (Ray 2.60). What Ray has no field for is
said by metadata whose keys begin with `slipway.`.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from platform_app.domain.validation import field_problems, nearest
from platform_app.errors import FieldProblem, InvalidRequest
from platform_app.specs import CommandSpec

DEFAULT_NAME = "ray-job"
_OURS = "slipway."
_KEYS = ("name", "team", "tier", "experiment", "workers", "gpus", "cpus", "accelerator", "market", "deadline_seconds")
"""What metadata can say, each after `slipway.`."""
_LABELS = {"ray.io/accelerator-type": "accelerator_type", "ray.io/market-type": "market"}
_SAID_AS = {
    "driver.gpus_per_worker": "entrypoint_num_gpus",
    "driver.cpus_per_worker": "entrypoint_num_cpus",
    "driver_memory": "entrypoint_memory",
    "driver.accelerator_type": "metadata slipway.accelerator",
    "driver.market": "metadata slipway.market",
    "workers.num_workers": "metadata slipway.workers",
    "workers.gpus_per_worker": "metadata slipway.gpus",
    "workers.cpus_per_worker": "metadata slipway.cpus",
    "workers.accelerator_type": "metadata slipway.accelerator",
    "workers.market": "metadata slipway.market",
    "name": "metadata slipway.name",
    "team": "metadata slipway.team",
    "tier": "metadata slipway.tier",
    "experiment": "metadata slipway.experiment",
    "deadline_seconds": "metadata slipway.deadline_seconds",
}
"""How someone at Ray's door has said what a field of the spec says."""


class RaySubmission(BaseModel):
    """The body of `POST /api/jobs/`."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    entrypoint: str
    submission_id: str | None = Field(default=None, pattern=r"^[^/\x00-\x1f\x7f]+$", max_length=200)
    job_id: str | None = Field(default=None, pattern=r"^[^/\x00-\x1f\x7f]+$", max_length=200)
    """Ray's older name of `submission_id`."""
    runtime_env: dict[str, Any] | None = None
    metadata: dict[str, str] | None = None
    entrypoint_num_cpus: float | None = Field(ge=0, default=None)
    entrypoint_num_gpus: float | None = Field(ge=0, default=None)
    entrypoint_memory: int | None = Field(ge=0, default=None)
    entrypoint_resources: dict[str, float] | None = None
    entrypoint_label_selector: dict[str, str] | None = None


def submission(body: Any) -> RaySubmission:
    """Read a body; fields that are null count as absent, as for Ray. Raises InvalidRequest."""
    given = {name: value for name, value in body.items() if value is not None} if isinstance(body, dict) else body
    try:
        return RaySubmission.model_validate(given)
    except ValidationError as error:
        raise InvalidRequest(*field_problems(error.errors(), RaySubmission)) from error


def command(request: RaySubmission, team: str, package: Callable[[str], str | None]) -> CommandSpec:
    """Give the command that a submission means.

    Args:
        request: as Ray's client sent it.
        team: whose job it is, unless its metadata says otherwise.
        package: gives the uploaded package that a name stands for; None for a name that stands for none.

    Raises:
        InvalidRequest: it can never be run; names the fields as they were sent.
    """
    said = _said(request.metadata or {})
    only, workers = _only(request, said), _workers(said)
    runtime_env = request.runtime_env or {}
    gpus = request.entrypoint_num_gpus or 0
    driver: dict[str, Any] = {
        "gpus_per_worker": gpus,
        "cpus_per_worker": request.entrypoint_num_cpus or 1,
        # What a command without GPUs runs on is not what its workers need.
        **(only if gpus or not workers else {}),
    }
    fields: dict[str, Any] = {
        "kind": "command",
        "name": said.get("name", DEFAULT_NAME),
        "team": said.get("team", team),
        "entrypoint": request.entrypoint,
        "driver": driver,
        "driver_memory": request.entrypoint_memory or None,
        "workers": workers | only if workers else None,
        "deadline_seconds": _number(said, "deadline_seconds") or None,
        "metadata": request.metadata or {},
        "runtime_env": runtime_env,
        "packages": _packages(runtime_env, package),
        **{key: said[key] for key in ("tier", "experiment") if key in said},
    }
    try:
        return CommandSpec.model_validate(fields)
    except ValidationError as error:
        raise InvalidRequest(*as_sent(field_problems(error.errors(), CommandSpec))) from error


def as_sent(problems: tuple[FieldProblem, ...]) -> tuple[FieldProblem, ...]:
    """Name the fields of problems as someone at Ray's door has given them."""
    return tuple(FieldProblem(_SAID_AS.get(one.field, one.field), one.message) for one in problems)


def _said(metadata: Mapping[str, str]) -> dict[str, str]:
    said = {key.removeprefix(_OURS): value for key, value in metadata.items() if key.startswith(_OURS)}
    if unknown := sorted(said.keys() - set(_KEYS)):
        known = [f"{_OURS}{key}" for key in _KEYS]
        raise InvalidRequest(
            *(FieldProblem("metadata", f"no such key: {_OURS}{key}{nearest(_OURS + key, known)}") for key in unknown)
        )
    return said


def _only(request: RaySubmission, said: Mapping[str, str]) -> dict[str, str]:
    """Say which workers will do: by metadata, or by Ray's label selector."""
    if request.entrypoint_resources:
        names = ", ".join(sorted(request.entrypoint_resources))
        message = f"no worker group has custom resources; got {names}: say what it needs as CPUs and GPUs"
        raise InvalidRequest(FieldProblem("entrypoint_resources", message))
    selector = request.entrypoint_label_selector or {}
    if unknown := sorted(selector.keys() - _LABELS.keys()):
        message = f"jobs are placed by {' and '.join(_LABELS)} alone; got {', '.join(unknown)}"
        raise InvalidRequest(FieldProblem("entrypoint_label_selector", message))
    by_metadata = {"accelerator_type": said.get("accelerator"), "market": said.get("market")}
    by_label = {_LABELS[label]: value for label, value in selector.items()}
    return by_label | {field: value for field, value in by_metadata.items() if value is not None}


def _workers(said: Mapping[str, str]) -> dict[str, Any]:
    """Say what the script will ask of Ray inside: so many GPUs and CPUs together, on so many workers."""
    gpus, cpus, workers = (_number(said, key) for key in ("gpus", "cpus", "workers"))
    if not gpus and not cpus:
        if workers:
            message = "say too what they hold together, by slipway.gpus or slipway.cpus"
            raise InvalidRequest(FieldProblem("metadata slipway.workers", message))
        return {}
    # Tasks and actors ask for one GPU each, or for one CPU, unless they say otherwise.
    count = workers or float(math.ceil(gpus or cpus))
    if not count.is_integer():
        raise InvalidRequest(FieldProblem("metadata slipway.workers", f"expected a whole number; got {count:g}"))
    return {"num_workers": int(count), "gpus_per_worker": gpus / count, "cpus_per_worker": cpus / count or 1}


def _number(said: Mapping[str, str], key: str) -> float:
    text = said.get(key, "0")
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise InvalidRequest(FieldProblem(f"metadata {_OURS}{key}", f"expected a number from 0; got {text!r}"))
    return value


def _packages(runtime_env: Mapping[str, Any], package: Callable[[str], str | None]) -> dict[str, str]:
    """Give what each name of an uploaded package in a runtime environment stands for."""
    modules = runtime_env.get("py_modules")
    directory, modules = runtime_env.get("working_dir"), modules if isinstance(modules, list) else []
    named = [("working_dir", directory), *(("py_modules", module) for module in modules)]
    found = {}
    for field, uri in named:
        if isinstance(uri, str) and "://" not in uri:
            message = f"expected a URI, for {uri!r} is on your machine alone: Ray's clients upload it and send its name"
            raise InvalidRequest(FieldProblem(f"runtime_env.{field}", message))
        if isinstance(uri, str) and uri.startswith("gcs://"):
            if (stands_for := package(uri.removeprefix("gcs://"))) is None:
                message = f"{uri} is not here: upload it first (PUT /api/packages/gcs/NAME)"
                raise InvalidRequest(FieldProblem(f"runtime_env.{field}", message))
            found[uri] = stands_for
    return found
