"""What a driver is told: a spec, and where and as which attempt it runs. Everything but the spec is optional."""

import json
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import ValidationError

from platform_app.specs import Spec, SweepSpec, TrainSpec, report_path, run_dir

S = TypeVar("S", TrainSpec, SweepSpec)


class BadInput(Exception):
    """What the driver was given cannot be used; `str()` of it says what, and what was expected."""


class Attempt(Spec):
    """One try at running a spec; also the whole of what a training worker is told."""

    spec: TrainSpec | SweepSpec
    job_id: str
    number: int
    storage: str
    """Absolute path of the shared filesystem, the same on every node."""
    tracking_uri: str
    """MLflow."""
    run_id: str = ""
    """MLflow run of this job; empty until it is started."""

    @property
    def run_dir(self) -> Path:
        """Where this job keeps its checkpoints."""
        return Path(run_dir(self.storage, self.job_id))

    @property
    def report_path(self) -> Path:
        """Where this attempt tells the platform how it is."""
        return Path(report_path(self.storage, self.job_id, self.number))


def load_spec(source: str, kind: type[S]) -> S:
    """Read a spec.

    Args:
        source: JSON, beginning with `{`, or the path of a YAML or JSON file.
        kind: `TrainSpec` or `SweepSpec`; what a spec without `kind` is.

    Raises:
        BadInput: it cannot be read, or is no such spec; the message names each field.
    """
    try:
        values = json.loads(source) if source.lstrip().startswith("{") else yaml.safe_load(Path(source).read_text())
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise BadInput(f"--spec: cannot be read: {error}") from None
    if not isinstance(values, dict):
        raise BadInput(f"--spec: expected a mapping of fields to values, got a {type(values).__name__}")
    try:
        return kind.model_validate({"kind": kind.model_fields["kind"].annotation.__args__[0], **values})  # type: ignore[union-attr]  # a Literal of one
    except ValidationError as error:
        problems = (f"{'.'.join(map(str, e['loc'])) or '--spec'}: {e['msg']}" for e in error.errors())
        raise BadInput("\n".join(problems)) from None


def attempt_from(spec: TrainSpec | SweepSpec, environment: Mapping[str, str]) -> Attempt:
    """Say where a spec runs, by the platform's environment variables; without them, for a run on its own.

    Raises:
        BadInput: a variable holds what it cannot.
    """
    storage = Path(environment.get("SLIPWAY_STORAGE") or Path.home() / ".slipway" / "storage")
    if not storage.is_absolute():
        raise BadInput(f"SLIPWAY_STORAGE: expected an absolute path, got {str(storage)!r}")
    number = environment.get("SLIPWAY_ATTEMPT") or "1"
    if not number.isdecimal() or number == "0":
        raise BadInput(f"SLIPWAY_ATTEMPT: expected a number from 1, got {number!r}")
    return Attempt(
        spec=spec,
        job_id=environment.get("SLIPWAY_JOB_ID") or f"{spec.name}-{secrets.token_hex(3)}",
        number=int(number),
        storage=str(storage),
        tracking_uri=environment.get("MLFLOW_TRACKING_URI") or f"sqlite:///{storage}/mlflow.db",
    )
