"""How rows are sent to each kind of server, and how its answer is read."""

import json
from enum import StrEnum

import numpy as np


class Wire(StrEnum):
    """The JSON of a server."""

    OPEN_INFERENCE = "open inference protocol"
    ROWS = '{"rows": [...]} to {"predictions": [...]}'
    BARE_ROWS = '{"rows": [...]} to [...]'
    MLFLOW = '{"inputs": [...]} to {"predictions": [...]}'


def body(wire: Wire, rows: np.ndarray) -> bytes:
    """Write a request."""
    match wire:
        case Wire.OPEN_INFERENCE:
            tensor = {"name": "input", "shape": rows.shape, "datatype": "FP32", "data": rows.ravel().tolist()}
            return json.dumps({"inputs": [tensor]}).encode()
        case Wire.MLFLOW:
            return json.dumps({"inputs": rows.tolist()}).encode()
        case _:
            return json.dumps({"rows": rows.tolist()}).encode()


def is_right(wire: Wire, answer: bytes, expected: np.ndarray) -> bool:
    """Say whether an answer is what the model itself gives."""
    read = json.loads(answer)
    match wire:
        case Wire.OPEN_INFERENCE:
            given = read["outputs"][0]["data"]
        case Wire.BARE_ROWS:
            given = read
        case _:
            given = read["predictions"]
    flat = np.ravel(given)
    return flat.shape == expected.ravel().shape and bool(np.allclose(flat, expected.ravel(), rtol=1e-3, atol=1e-4))
