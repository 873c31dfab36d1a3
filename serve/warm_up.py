"""A loaded model is asked before anyone else may ask it: the first call of most is many times slower than the next.

The model's own example comes first, where MLflow kept one: a version that fails on it is not fit to serve. Then come
rows of zeros, of one row and of a full batch; a model may well refuse those, and is none the worse for it.
"""

import logging
from time import perf_counter

import numpy as np

from platform_app.specs import BatchingSpec
from serve.flavors import Arrays
from serve.model import LoadedModel, ModelDoesNotLoad
from serve.protocol import Array, Datatype, ModelMetadata, TensorMetadata

_log = logging.getLogger("ray.serve")

_CALLS = 3


def by_rows(metadata: ModelMetadata) -> bool:
    """Say whether the first dimension of all that a model takes and gives counts rows, as far as its signature says."""
    tensors = (*metadata.inputs, *metadata.outputs)
    return bool(metadata.inputs) and all(tensor.shape and tensor.shape[0] == -1 for tensor in tensors)


def warm_up(model: LoadedModel, batching: BatchingSpec) -> float:
    """Call a model a few times, and give what a call of few rows takes, in seconds.

    Raises:
        ModelDoesNotLoad: it fails on its own example.
    """
    example = model.example
    if example is not None:
        try:
            model.predict(example)
        except Exception as error:
            raise ModelDoesNotLoad(f"it fails on its own example: {type(error).__name__}: {error}") from error
    sizes = [1, batching.max_rows] if by_rows(model.metadata) else [1]
    try:
        for size in reversed(sizes):
            model.predict(_zeros(model.metadata, size))
    except Exception as error:
        _log.info("%s refuses zeros: %s", model.metadata.name, error)
    inputs = example if example is not None else _zeros(model.metadata, 1)
    return min(_seconds(model, inputs) for _ in range(_CALLS))


def _seconds(model: LoadedModel, inputs: Arrays) -> float:
    started = perf_counter()
    try:
        model.predict(inputs)
    except Exception:
        return 1.0  # nothing is known; the first real calls tell
    return perf_counter() - started


def _zeros(metadata: ModelMetadata, rows: int) -> Arrays:
    return {tensor.name: _of_zeros(tensor, rows) for tensor in metadata.inputs}


def _of_zeros(tensor: TensorMetadata, rows: int) -> Array:
    shape = [size if size >= 0 else 1 for size in tensor.shape]
    if tensor.shape and tensor.shape[0] == -1:
        shape[0] = rows
    if tensor.datatype is Datatype.BYTES:
        return np.full(shape, "", dtype=object)
    return np.zeros(shape, tensor.datatype.dtype)
