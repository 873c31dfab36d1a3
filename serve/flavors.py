"""How the models of each MLflow flavor are called: named arrays in, whatever the model gives out.

A torch module and a scikit-learn model with a signature of tensors are called as they are, without pandas or MLflow on
the way. Any other goes through MLflow's pyfunc, which every flavor has.
"""

from collections.abc import Callable, Mapping
from typing import Any

from serve.protocol import Array

Arrays = Mapping[str, Array]
Call = Callable[[Arrays], Any]


def call_of(folder: str, flavors: Mapping[str, Any], schema: Any, use_gpu: bool) -> Call:
    """Bring a model into memory, and give how to call it. Raises what its flavor raises.

    Args:
        folder: where MLflow's `MLmodel` file is.
        flavors: what that file says of each flavor.
        schema: MLflow's schema of the inputs; None where there is none.
        use_gpu: whether the replica has one.
    """
    if "pytorch" in flavors:
        return _torch_call(folder, use_gpu)
    if "sklearn" in flavors and schema is not None and schema.is_tensor_spec() and not schema.has_input_names():
        return _sklearn_call(folder, flavors["python_function"].get("predict_fn", "predict"))
    return _pyfunc_call(folder, schema)


def _sklearn_call(folder: str, predict_fn: str) -> Call:
    import mlflow.sklearn

    predict = getattr(mlflow.sklearn.load_model(folder), predict_fn)
    return lambda inputs: predict(next(iter(inputs.values())))


def _torch_call(folder: str, use_gpu: bool) -> Call:
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


def _pyfunc_call(folder: str, schema: Any) -> Call:
    import mlflow.pyfunc
    import pandas as pd  # type: ignore[import-untyped]

    model = mlflow.pyfunc.load_model(folder)

    def call(inputs: Arrays) -> Any:
        if schema is not None and not schema.is_tensor_spec():
            return model.predict(pd.DataFrame(dict(inputs)))
        named = schema is not None and schema.has_input_names()
        return model.predict(dict(inputs) if named or len(inputs) > 1 else next(iter(inputs.values())))

    return call
