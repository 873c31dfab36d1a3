"""The Open Inference Protocol v2 over REST, as values: JSON on one side, numpy arrays on the other.

Nothing here knows HTTP, Ray or a model. What a client did wrong is a `ProtocolError` that names the input, what was
expected and what was got. Source: https://github.com/kserve/open-inference-protocol, `inference_rest.md`.
"""

import math
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any

import numpy as np
import pydantic_core
from pydantic import BaseModel, ConfigDict, Field, ValidationError

Array = np.ndarray[Any, np.dtype[Any]]


class ProtocolError(Exception):
    """A request that cannot be understood or does not fit the model. `str()` of one is a sentence for the client."""


class Datatype(StrEnum):
    """The protocol's tensor element types."""

    BOOL = "BOOL"
    UINT8 = "UINT8"
    UINT16 = "UINT16"
    UINT32 = "UINT32"
    UINT64 = "UINT64"
    INT8 = "INT8"
    INT16 = "INT16"
    INT32 = "INT32"
    INT64 = "INT64"
    FP16 = "FP16"
    FP32 = "FP32"
    FP64 = "FP64"
    BYTES = "BYTES"
    """Text, since JSON carries no bytes; an array of Python strings."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The numpy type of such elements; `object` (holding `str`) for BYTES."""
        return np.dtype(_DTYPE_NAMES[self])

    @classmethod
    def of(cls, dtype: np.dtype[Any]) -> "Datatype":
        """Give the datatype that carries a numpy type. Raises ProtocolError where none does."""
        if dtype.kind in "OUS":
            return cls.BYTES
        try:
            return _BY_DTYPE[dtype.newbyteorder("=")]
        except KeyError:
            raise ProtocolError(f"the protocol has no datatype for numpy's {dtype}") from None


_DTYPE_NAMES = {
    Datatype.BOOL: "bool",
    **{Datatype(f"{sign}INT{bits}"): f"{sign.lower()}int{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)},
    Datatype.FP16: "float16",
    Datatype.FP32: "float32",
    Datatype.FP64: "float64",
    Datatype.BYTES: "object",
}
_BY_DTYPE = {np.dtype(name): datatype for datatype, name in _DTYPE_NAMES.items()}

# Kinds of numpy arrays (of what JSON held) that may become an element type, and what to call the elements.
_ACCEPTED = {"b": ("b", "true and false"), "i": ("iu", "integers"), "u": ("iu", "integers"), "f": ("iuf", "numbers")}


class _Wire(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)


class TensorMetadata(_Wire):
    """What a model expects or gives under a name."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...]
    """-1 stands for any size."""


class ModelMetadata(_Wire):
    """What a client may know of a served model."""

    name: str
    versions: tuple[str, ...]
    platform: str
    """`{project}_{format}`, such as `mlflow_pytorch`."""
    inputs: tuple[TensorMetadata, ...]
    outputs: tuple[TensorMetadata, ...]


class RequestInput(_Wire):
    """One tensor of a request."""

    name: str
    shape: tuple[Annotated[int, Field(ge=0, strict=True)], ...]
    datatype: Datatype
    data: list[Any]
    """Row-major, flat or nested as `shape` says."""


class RequestOutput(_Wire):
    """One output that the client wants."""

    name: str


class InferenceRequest(_Wire):
    """The body of `POST .../infer`; parameters and fields that nobody knows are ignored."""

    id: str | None = None
    inputs: Annotated[tuple[RequestInput, ...], Field(min_length=1)]
    outputs: tuple[RequestOutput, ...] = ()
    """Empty: all that the model gives."""


def parse(body: bytes) -> InferenceRequest:
    """Read the body of an inference request. Raises ProtocolError when it is no JSON or not such a request."""
    try:
        return InferenceRequest.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        if first["type"] == "json_invalid":
            raise ProtocolError(f"the body must be JSON: {first['ctx']['error']}") from None
        where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]).lstrip(".")
        got = "" if first["type"] == "missing" else f"; got {_shorten(first['input'])}"
        raise ProtocolError(f"{where or 'the body'}: {first['msg']}{got}") from None


def decode(request: InferenceRequest) -> dict[str, Array]:
    """Give a request's inputs as arrays, by name. Raises ProtocolError for data that its shape or datatype denies."""
    arrays = {tensor.name: _decode(tensor) for tensor in request.inputs}
    if len(arrays) < len(request.inputs):
        names = [tensor.name for tensor in request.inputs]
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ProtocolError(f"each input may be given once; given twice: {', '.join(twice)}")
    return arrays


def _decode(tensor: RequestInput) -> Array:
    values = _typed(tensor)
    if values.ndim > 1 and values.shape != tensor.shape:
        raise ProtocolError(
            f"input {tensor.name!r}: data is nested as {list(values.shape)}, shape says {list(tensor.shape)}"
        )
    if values.size != math.prod(tensor.shape):
        raise ProtocolError(
            f"input {tensor.name!r}: shape {list(tensor.shape)} needs {math.prod(tensor.shape)} elements, "
            f"data has {values.size}"
        )
    return values.reshape(tensor.shape)


def _typed(tensor: RequestInput) -> Array:
    """Make an array of the tensor's datatype; numpy would silently cut 1.5 to 1 and 1e6 to an infinite FP16."""
    target = tensor.datatype.dtype
    try:
        if target.kind == "O":
            return _texts(tensor)
        found = np.array(tensor.data)
        if target.kind in "iu" and found.dtype.kind in "fO":
            # numpy widens [1, 2**63] to floats; only elements that are all integers may pass.
            whole = np.array(tensor.data, dtype=object)
            found = whole if all(type(value) is int for value in whole.flat) else found
    except ValueError:
        raise ProtocolError(f"input {tensor.name!r}: nested data must have rows of equal length") from None
    kinds, expected = _ACCEPTED[target.kind]
    if found.size and found.dtype.kind not in kinds + ("O" if target.kind in "iu" else ""):
        raise ProtocolError(f"input {tensor.name!r}: {tensor.datatype} takes {expected}; got {_odd_one(found, kinds)}")
    return _in_range(tensor, found, target)


def _in_range(tensor: RequestInput, found: Array, target: np.dtype[Any]) -> Array:
    message = f"input {tensor.name!r}: a number is out of the range of {tensor.datatype}"
    try:
        with np.errstate(over="ignore"):
            cast = found.astype(target)
    except (OverflowError, TypeError):
        raise ProtocolError(message) from None
    if target.kind in "iu":
        if not np.array_equal(cast, found):
            raise ProtocolError(message)
    elif target.kind == "f" and np.isinf(cast).sum() > np.isinf(found).sum():
        raise ProtocolError(message)
    return cast


def _texts(tensor: RequestInput) -> Array:
    texts = np.array(tensor.data, dtype=object)
    if wrong := [value for value in texts.flat if not isinstance(value, str)]:
        raise ProtocolError(f"input {tensor.name!r}: BYTES takes strings; got {_shorten(wrong[0])}")
    return texts


def _odd_one(found: Array, kinds: str) -> str:
    odd = (value for value in found.flat if np.asarray(value).dtype.kind not in kinds)
    return _shorten(next(odd, found.flat[0]))


def check(inputs: Mapping[str, Array], expected: Sequence[TensorMetadata]) -> None:
    """Compare inputs with what the model expects; an empty `expected` allows anything but an empty tensor.

    Raises:
        ProtocolError: a name, datatype or shape is not the model's, or a tensor holds nothing.
    """
    if expected and inputs.keys() != (names := {tensor.name for tensor in expected}):
        wanted = ", ".join(repr(tensor.name) for tensor in expected)
        wrong = sorted(inputs.keys() - names)
        reason = f"got {', '.join(map(repr, wrong))}" if wrong else f"without {sorted(names - inputs.keys())[0]!r}"
        raise ProtocolError(f"the model takes the inputs {wanted}; {reason}")
    for tensor in expected:
        array = inputs[tensor.name]
        if (given := Datatype.of(array.dtype)) is not tensor.datatype:
            raise ProtocolError(f"input {tensor.name!r}: expected datatype {tensor.datatype}; got {given}")
        fits = len(array.shape) == len(tensor.shape) and all(
            size in (-1, got) for size, got in zip(tensor.shape, array.shape, strict=True)
        )
        if not fits:
            raise ProtocolError(
                f"input {tensor.name!r}: expected shape {list(tensor.shape)} (-1: any size); got {list(array.shape)}"
            )
    for name, array in inputs.items():
        if array.size == 0:
            raise ProtocolError(f"input {name!r}: shape {list(array.shape)} holds nothing; send at least one row")


def check_outputs(wanted: Sequence[RequestOutput], known: Sequence[str]) -> None:
    """Raise ProtocolError for a wanted output that is not among the known ones."""
    if wrong := [output.name for output in wanted if output.name not in known]:
        raise ProtocolError(f"the model gives the outputs {', '.join(map(repr, known))}; got {wrong[0]!r}")


def inference_response(
    request: InferenceRequest, model_name: str, model_version: str, outputs: Mapping[str, Array]
) -> bytes:
    """Write the answer to a request: the outputs it asks for, or all of them.

    Raises:
        ProtocolError: an output that is asked for is not there, or an array holds what the protocol cannot carry.
    """
    check_outputs(request.outputs, list(outputs))
    names = [output.name for output in request.outputs] or list(outputs)
    answer: dict[str, Any] = {"model_name": model_name, "model_version": model_version}
    if request.id is not None:
        answer["id"] = request.id
    answer["outputs"] = [encode(name, outputs[name]) for name in names]
    # NaN and infinities are written as such, which JSON lacks and every client of this protocol reads.
    return pydantic_core.to_json(answer, inf_nan_mode="constants")


def encode(name: str, array: Array) -> dict[str, Any]:
    """Give an array as a tensor of the wire, its data flat."""
    datatype = Datatype.of(array.dtype)
    flat = array.ravel()
    data = [_text(name, value) for value in flat] if datatype is Datatype.BYTES else flat.tolist()
    return {"name": name, "datatype": datatype.value, "shape": list(array.shape), "data": data}


def _text(name: str, value: object) -> str:
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise ProtocolError(f"tensor {name!r}: JSON carries UTF-8 text; got other bytes") from None
    if not isinstance(value, str):
        raise ProtocolError(f"tensor {name!r}: BYTES takes text; got {_shorten(value)}")
    return value


def error_response(message: str) -> bytes:
    """Write the body of every answer that is not a success."""
    return pydantic_core.to_json({"error": message})


def _shorten(value: object) -> str:
    text = repr(value.item() if isinstance(value, np.generic) else value)
    return text if len(text) <= 60 else f"{text[:57]}..."
