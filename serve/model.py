"""A registered model version in memory: named arrays in, named arrays out.

torch and mlflow are imported when a model is loaded, which only replicas do: the control plane imports this package
to deploy it, and runs no model's code.
"""

import importlib
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from platform_app.specs import ServedModel
from serve.flavors import Arrays, Call, call_of
from serve.protocol import Array, ModelMetadata
from serve.signature import position, tensors_of


class ModelDoesNotLoad(Exception):
    """A model version cannot serve. `str()` of one is a single line that says why."""


class LoadedModel(Protocol):
    """A model that answers."""

    @property
    def metadata(self) -> ModelMetadata:
        """What it takes and gives."""
        ...

    @property
    def example(self) -> Arrays | None:
        """Inputs that were kept with it; None where there are none."""
        ...

    def predict(self, inputs: Arrays) -> dict[str, Array]:
        """Give the outputs, by name, for inputs that fit the metadata."""
        ...

    def close(self) -> None:
        """Let go of what it holds outside of memory."""
        ...


class MlflowModel:
    """A model version of MLflow's registry."""

    def __init__(
        self, metadata: ModelMetadata, call: Call, owned: str | None = None, example: Arrays | None = None
    ) -> None:
        self.metadata = metadata
        self.example = example
        self._call = call
        self._owned = owned

    def predict(self, inputs: Arrays) -> dict[str, Array]:
        """Give the outputs, by name, for inputs that fit the metadata."""
        return named(self._call(inputs), [output.name for output in self.metadata.outputs])

    def close(self) -> None:
        """Delete the files fetched for it, which some flavors read as late as in a prediction."""
        if self._owned is not None:
            shutil.rmtree(self._owned, ignore_errors=True)


def load_model(served: ServedModel) -> MlflowModel:
    """Fetch a version from MLflow and bring it into memory, on the GPU where the replica has one.

    Raises:
        ModelDoesNotLoad: it is not there, cannot be unpickled here, or has a signature that the protocol cannot carry.
    """
    folder = tempfile.mkdtemp(prefix="slipway-model-")
    try:
        return open_model(fetch(served, folder), served, owned=folder)
    except Exception as cause:
        shutil.rmtree(folder, ignore_errors=True)
        reason = " ".join(f"{type(cause).__name__}: {cause}".split())
        raise ModelDoesNotLoad(f"{served.spec.model} version {served.version} does not load: {reason}") from cause


def fetch(served: ServedModel, folder: str) -> str:
    """Download a version's files into a folder, and say where in it they are. Raises what MLflow raises."""
    import mlflow

    # Flavors read some things by the global URI; this process serves one model and nothing else.
    mlflow.set_tracking_uri(served.tracking_uri)
    mlflow.set_registry_uri(served.tracking_uri)
    uri = f"models:/{served.spec.model}/{served.version}"
    return str(mlflow.artifacts.download_artifacts(uri, dst_path=folder))


def open_model(folder: str, served: ServedModel, owned: str | None = None) -> MlflowModel:
    """Bring a model that MLflow saved in a folder into memory. Raises what its flavor raises.

    Args:
        folder: where MLflow's `MLmodel` file is.
        served: what to call it.
        owned: a folder to delete when the model is closed.
    """
    from mlflow.models import Model

    description = Model.load(folder)
    inputs = description.get_input_schema()
    metadata = ModelMetadata(
        name=served.deployment,
        versions=(str(served.version),),
        platform=f"mlflow_{_flavor(description.flavors)}",
        inputs=tensors_of(inputs, "input"),
        outputs=tensors_of(description.get_output_schema(), "output"),
    )
    call = call_of(folder, description.flavors, inputs, use_gpu=served.spec.gpus_per_replica > 0)
    return MlflowModel(metadata, call, owned, _example(description, folder, metadata))


def _example(description: Any, folder: str, metadata: ModelMetadata) -> Arrays | None:
    """Read the input example that MLflow kept, as the model's inputs; None where it is not of their form."""
    kept = description.load_input_example(folder) if description.saved_input_example_info else None
    if kept is None:
        return None
    by_name = isinstance(kept, Mapping) or hasattr(kept, "columns")
    given = {str(name): kept[name] for name in kept} if by_name else {metadata.inputs[0].name: kept}
    if given.keys() != {tensor.name for tensor in metadata.inputs}:
        return None
    return {
        tensor.name: np.ascontiguousarray(np.asarray(given[tensor.name]), tensor.datatype.dtype)
        for tensor in metadata.inputs
    }


def _flavor(flavors: Mapping[str, Any]) -> str:
    return next((name for name in sorted(flavors) if name != "python_function"), "pyfunc")


def named(result: Any, names: Sequence[str]) -> dict[str, Array]:
    """Name what a model gave: by its own names, else by the signature's, else `output`, or `output-0` and so on."""
    if isinstance(result, Mapping) or hasattr(result, "columns"):  # a dict or a pandas DataFrame
        return {str(name): _array(result[name]) for name in result}
    several = isinstance(result, tuple) or (isinstance(result, list) and bool(result) and hasattr(result[0], "shape"))
    arrays = [_array(part) for part in (result if several else (result,))]
    if len(names) != len(arrays):
        names = [position("output", index, len(arrays)) for index in range(len(arrays))]
    return dict(zip(names, arrays, strict=True))


def attribute(path: str) -> Any:
    """Import `package.module:attribute`. Raises ImportError or AttributeError."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def _array(value: Any) -> Array:
    if hasattr(value, "detach"):  # a torch tensor
        value = value.detach().cpu()
        return np.asarray((value.float() if str(value.dtype) == "torch.bfloat16" else value).numpy())
    array = np.asarray(value)
    return array.astype("datetime64[us]").astype(str) if array.dtype.kind == "M" else array
