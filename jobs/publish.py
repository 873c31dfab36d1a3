"""A checkpoint becomes a model version in MLflow, with its signature and its code."""

import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from jobs.attempt import Attempt
from jobs.failure import JobFailed
from jobs.state import load_model_weights
from jobs.tracking import connect, patiently
from jobs.workload import Workload
from platform_app.specs import FailureCause

PLATFORM_PACKAGES = frozenset({"jobs", "platform_app", "serve"})
"""Packages that are wherever models are served, and so never travel with one."""


def publish(attempt: Attempt, name: str, workload: Workload, checkpoint: Path) -> int:
    """Log a checkpoint as the run's model, and register it. Doing it twice registers once.

    Args:
        attempt: whose run it is.
        name: the registered model.
        workload: built with the checkpoint's config; its model gets the checkpoint's weights.
        checkpoint: the folder of what to publish.

    Returns:
        The version.

    Raises:
        JobFailed: `tracking-unavailable`.
    """
    load_model_weights(checkpoint, workload)
    return patiently("publishing the model", lambda: _publish(attempt, name, workload))


def code_paths(modules: Iterable[ModuleType], folder: Path) -> list[str]:
    """Find what was imported from a folder, as the top-level files and packages that must travel with a model.

    Libraries (`site-packages`, the standard library) and the platform's own packages stay where they are.
    """
    found = set()
    for module in modules:
        source = Path(getattr(module, "__file__", None) or "/")
        if not source.is_relative_to(folder) or not module.__name__.isascii():
            continue
        top = source.relative_to(folder).parts[0]
        libraries = {"site-packages", "dist-packages"}.intersection(source.parts)
        is_named_so = top.removesuffix(".py") == module.__name__.partition(".")[0]
        if is_named_so and not libraries and top not in PLATFORM_PACKAGES:
            found.add(str(folder / top))
    return sorted(found)


def requirements(model: Any) -> list[str]:
    """Pin what a served model needs: MLflow, torch, and the libraries whose classes the model is made of."""
    from importlib.metadata import packages_distributions, version

    known = packages_distributions()
    packages = {"mlflow", "torch"} | {type(part).__module__.partition(".")[0] for part in model.modules()}
    # A package of the user's working directory is of no distribution, and travels with the model.
    used = {package: known[package] for package in packages - PLATFORM_PACKAGES if package in known}
    names = {package if package in names else names[0] for package, names in used.items()}
    return sorted(f"{name}=={version(name).partition('+')[0]}" for name in names)


def _publish(attempt: Attempt, name: str, workload: Workload) -> int:
    client = connect(attempt.tracking_uri)
    known = client.search_model_versions(f"name = '{name}' and run_id = '{attempt.run_id}'")
    return int(known[0].version) if known else _register(attempt, name, _log_model(attempt, workload))


def _log_model(attempt: Attempt, workload: Workload) -> str:
    """Log the model as an artifact of the run and give its URI."""
    import mlflow
    import torch

    example = workload.example_input.cpu()
    with torch.no_grad():
        output = workload.model.eval()(example)
    if not isinstance(output, torch.Tensor):
        message = f"a published model must give a tensor; {attempt.spec.workload} gives a {type(output).__name__}"
        raise JobFailed(FailureCause.USER_CODE_FAILED, message)
    mlflow.set_tracking_uri(attempt.tracking_uri)
    mlflow.start_run(run_id=attempt.run_id, log_system_metrics=False)
    try:
        info = mlflow.pytorch.log_model(
            workload.model,
            name="model",
            signature=_signature(example, output),
            input_example=example.numpy(),
            code_paths=code_paths(list(sys.modules.values()), Path.cwd()) or None,
            # Without them MLflow finds out by importing everything in another process, which takes long.
            pip_requirements=requirements(workload.model),
            # The other format traces the model, and cannot save one whose forward pass branches on data.
            serialization_format="pickle",
        )
    finally:
        mlflow.end_run("RUNNING")  # only the driver knows how the run ends
    return str(info.model_uri)


def _signature(example: Any, output: Any) -> Any:
    """Describe input and output: dtype and shape, with any number of samples."""
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    def schema(tensor: Any) -> Any:
        array = tensor.numpy()
        return Schema([TensorSpec(array.dtype, (-1, *array.shape[1:]))])

    return ModelSignature(inputs=schema(example), outputs=schema(output))


def _register(attempt: Attempt, name: str, model_uri: str) -> int:
    import mlflow

    tags = {"slipway.job_id": attempt.job_id, "slipway.attempt": str(attempt.number)}
    return int(mlflow.register_model(model_uri, name, await_registration_for=0, tags=tags).version)
