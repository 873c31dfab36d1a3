"""A registered model version in memory: named arrays in, named arrays out.

A torch module is called as it is, without pandas or MLflow on the way; any other flavor goes through MLflow's pyfunc.
torch and mlflow are imported when a model is loaded, which only replicas do: the control plane imports this package
to deploy it, and runs no model's code.
"""

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from platform_app.specs import ServedModel
from serve.protocol import Array, Datatype, ModelMetadata, TensorMetadata

Arrays = Mapping[str, Array]

_COLUMN_DATATYPES = {
    "boolean": Datatype.BOOL,
    "integer": Datatype.INT32,
    "long": Datatype.INT64,
    "float": Datatype.FP32,
    "double": Datatype.FP64,
    "string": Datatype.BYTES,
    "datetime": Datatype.BYTES,  # as ISO 8601
}


class ModelDoesNotLoad(Exception):
    """A model version cannot serve. `str()` of one is a single line that says why."""


class LoadedModel(Protocol):
    """A model that answers."""

    @property
    def metadata(self) -> ModelMetadata:
        """What it takes and gives."""
        ...

    def predict(self, inputs: Arrays) -> dict[str, Array]:
        """Give the outputs, by name, for inputs that fit the metadata."""
        ...

    def close(self) -> None:
        """Let go of what it holds outside of memory."""
        ...


class MlflowModel:
    """A model version of MLflow's registry."""

    def __init__(self, metadata: ModelMetadata, call: Callable[[Arrays], Any], owned: str | None = None) -> None:
        self.metadata = metadata
        self._call = call
        self._owned = owned

    def predict(self, inputs: Arrays) -> dict[str, Array]:
        """Give the outputs, by name, for inputs that fit the metadata."""
        return _named(self._call(inputs), [output.name for output in self.metadata.outputs])

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
        return open_model(_fetch(served, folder), served, owned=folder)
    except Exception as cause:
        shutil.rmtree(folder, ignore_errors=True)
        reason = " ".join(f"{type(cause).__name__}: {cause}".split())
        raise ModelDoesNotLoad(f"{served.spec.model} version {served.version} does not load: {reason}") from cause


def _fetch(served: ServedModel, folder: str) -> str:
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
        inputs=_tensors(inputs, "input"),
        outputs=_tensors(description.get_output_schema(), "output"),
    )
    if "pytorch" in description.flavors:
        return MlflowModel(metadata, _torch_call(folder, use_gpu=served.spec.gpus_per_replica > 0), owned)
    return MlflowModel(metadata, _pyfunc_call(folder, inputs), owned)


def _flavor(flavors: Mapping[str, Any]) -> str:
    return next((name for name in sorted(flavors) if name != "python_function"), "pyfunc")


def _torch_call(folder: str, use_gpu: bool) -> Callable[[Arrays], Any]:
    import mlflow.pytorch
    import torch

    wanted = "cuda" if use_gpu and torch.cuda.is_available() else "cpu"
    module = mlflow.pytorch.load_model(folder, map_location=wanted)
    # An exported program (.pt2) stays on the device that it was traced on.
    device = next((parameter.device for parameter in module.parameters()), torch.device(wanted))

    def call(inputs: Arrays) -> Any:
        with torch.inference_mode():
            tensors = {name: torch.from_numpy(array).to(device) for name, array in inputs.items()}
            return module(*tensors.values()) if len(tensors) == 1 else module(**tensors)

    return call


def _pyfunc_call(folder: str, schema: Any) -> Callable[[Arrays], Any]:
    import mlflow.pyfunc
    import pandas as pd  # type: ignore[import-untyped]

    model = mlflow.pyfunc.load_model(folder)

    def call(inputs: Arrays) -> Any:
        if schema is not None and not schema.is_tensor_spec():
            return model.predict(pd.DataFrame(dict(inputs)))
        named = schema is not None and schema.has_input_names()
        return model.predict(dict(inputs) if named or len(inputs) > 1 else next(iter(inputs.values())))

    return call


def _tensors(schema: Any, default_name: str) -> tuple[TensorMetadata, ...]:
    """Read an MLflow schema: of tensors as they are, of columns each as a tensor of one dimension; None is unknown."""
    if schema is None:
        return ()
    return tuple(
        TensorMetadata(
            name=spec.name or _position(default_name, index, len(schema.inputs)),
            datatype=Datatype.of(spec.type) if schema.is_tensor_spec() else _column(spec),
            shape=tuple(spec.shape) if schema.is_tensor_spec() else (-1,),
        )
        for index, spec in enumerate(schema.inputs)
    )


def _column(spec: Any) -> Datatype:
    kind = getattr(spec.type, "name", str(spec.type))
    if kind not in _COLUMN_DATATYPES:
        raise ValueError(f"column {spec.name!r} of its signature is {kind}, which the protocol has no datatype for")
    return _COLUMN_DATATYPES[kind]


def _position(default_name: str, index: int, count: int) -> str:
    return default_name if count == 1 else f"{default_name}-{index}"


def _named(result: Any, names: Sequence[str]) -> dict[str, Array]:
    """Name what a model gave: by its own names, else by the signature's, else `output`, or `output-0` and so on."""
    if isinstance(result, Mapping) or hasattr(result, "columns"):  # a dict or a pandas DataFrame
        return {str(name): _array(result[name]) for name in result}
    several = isinstance(result, tuple) or (isinstance(result, list) and bool(result) and hasattr(result[0], "shape"))
    arrays = [_array(part) for part in (result if several else (result,))]
    if len(names) != len(arrays):
        names = [_position("output", index, len(arrays)) for index in range(len(arrays))]
    return dict(zip(names, arrays, strict=True))


def _array(value: Any) -> Array:
    if hasattr(value, "detach"):  # a torch tensor
        value = value.detach().cpu()
        return np.asarray((value.float() if str(value.dtype) == "torch.bfloat16" else value).numpy())
    array = np.asarray(value)
    return array.astype("datetime64[us]").astype(str) if array.dtype.kind == "M" else array
