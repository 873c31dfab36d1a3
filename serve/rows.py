"""Plain JSON rows, for people with curl: `{"rows": [[5.1, 3.5], …]}` or `{"rows": [{"width": 5.1, "height": 3.5}, …]}`.

A row is what the model takes along the first dimension of its inputs: of one input, its element; of several, a list in
the order of the signature or an object by their names. The answer is `{"predictions": […]}`, one for each row: of a
model with one output its element, of several an object by name.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from serve.protocol import Array, Datatype, InferenceRequest, ProtocolError, TensorMetadata, shorten
from serve.rest import TensorData, array_of, json_data, read_json, write_json


def decode(body: bytes, inputs: Sequence[TensorMetadata]) -> InferenceRequest:
    """Read rows as the inputs of a model. Raises ProtocolError for what is not rows, or not rows of this model."""
    read = read_json(body)
    if not isinstance(read, dict) or not isinstance(read.get("rows"), list):
        raise ProtocolError(f'the body must be {{"rows": [row, ...]}}; got {shorten(read)}')
    rows = read["rows"]
    if not inputs:
        raise ProtocolError("the model has no signature to read rows by: send tensors to /v2/models/{deployment}/infer")
    if not rows:
        raise ProtocolError("rows: send at least one")
    if isinstance(rows[0], dict):
        _same_names(rows, [tensor.name for tensor in inputs])
        columns = [[row[tensor.name] for row in rows] for tensor in inputs]
    elif len(inputs) == 1:
        columns = [rows]
    else:
        _same_lengths(rows, len(inputs))
        columns = [list(column) for column in zip(*rows, strict=True)]
    return InferenceRequest(
        {tensor.name: _array(tensor, column) for tensor, column in zip(inputs, columns, strict=True)}
    )


def _same_names(rows: list[Any], names: list[str]) -> None:
    for number, row in enumerate(rows):
        if not isinstance(row, dict) or row.keys() != set(names):
            got = sorted(row) if isinstance(row, dict) else row
            raise ProtocolError(f"rows[{number}]: expected an object of {', '.join(names)}; got {shorten(got)}")


def _same_lengths(rows: list[Any], length: int) -> None:
    for number, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != length:
            raise ProtocolError(f"rows[{number}]: expected a list of {length} values; got {shorten(row)}")


def _array(tensor: TensorMetadata, column: list[Any]) -> Array:
    shape = []
    level: Any = column
    while isinstance(level, list):
        shape.append(len(level))
        level = level[0] if level else None
    return array_of(TensorData(name=tensor.name, shape=tuple(shape), datatype=tensor.datatype, data=column))


def encode(outputs: Mapping[str, Array], model_name: str, model_version: str) -> bytes:
    """Write the predictions, row by row."""
    listed = {name: _listed(name, array) for name, array in outputs.items()}
    predictions: Any = next(iter(listed.values()))
    if len(listed) > 1:
        predictions = [dict(zip(listed, row, strict=True)) for row in zip(*listed.values(), strict=True)]
    told = {"model_name": model_name, "model_version": model_version, "predictions": predictions}
    return write_json(told, outputs.values())


def _listed(name: str, array: Array) -> Any:
    if Datatype.of(array.dtype) is not Datatype.BYTES:
        return array.tolist()
    return np.array(json_data(name, array), dtype=object).reshape(array.shape).tolist()
