"""The protocol over REST: JSON, and tensors as bytes behind it (the binary tensor extension).

A body is JSON alone, or JSON of the length that the header `Inference-Header-Content-Length` says and then the data of
its binary tensors one after the other. Sources: `inference_rest.md` of the protocol, and Triton's
`extension_binary_data.md`, which clients of the protocol follow.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import numpy as np
import orjson
import pydantic_core
from pydantic import Field, ValidationError

from serve.protocol import (
    Array,
    Datatype,
    InferenceRequest,
    ProtocolError,
    Value,
    WantedOutput,
    as_bytes,
    from_bytes,
    shorten,
    text,
)

JSON_LENGTH_HEADER = "inference-header-content-length"
"""Says how many bytes of a body are its JSON, where binary tensors follow."""

# Kinds of numpy arrays (of what JSON held) that may become an element type, and what to call the elements.
_ACCEPTED = {"b": ("b", "true and false"), "i": ("iu", "integers"), "u": ("iu", "integers"), "f": ("iuf", "numbers")}


class _InputParameters(Value):
    binary_data_size: Annotated[int, Field(ge=0, strict=True)] | None = None


class TensorData(Value):
    """One tensor of a request."""

    name: str
    shape: tuple[Annotated[int, Field(ge=0, strict=True)], ...]
    datatype: Datatype
    data: Any = None
    """Row-major, flat or nested as `shape` says; absent where the data are binary."""
    parameters: _InputParameters | None = None


class _OutputParameters(Value):
    binary_data: bool = False


class _RequestedOutput(Value):
    name: str
    parameters: _OutputParameters | None = None


class _RequestParameters(Value):
    binary_data_output: bool = False


class InferenceBody(Value):
    """The JSON of `POST .../infer`; parameters and fields that nobody knows are ignored."""

    id: str | None = None
    inputs: Annotated[tuple[TensorData, ...], Field(min_length=1)]
    outputs: tuple[_RequestedOutput, ...] = ()
    parameters: _RequestParameters | None = None


def decode(body: bytes, json_length: int | None = None) -> InferenceRequest:
    """Read a request.

    Args:
        body: all of it.
        json_length: bytes of it that are JSON; None: all are.

    Raises:
        ProtocolError: it is not such a request, or data are not what their shape and datatype say.
    """
    if json_length is not None and not 0 <= json_length <= len(body):
        raise ProtocolError(f"{JSON_LENGTH_HEADER} says {json_length}; the body has {len(body)} bytes")
    asked = _parse(body if json_length is None else body[:json_length])
    binary = memoryview(body)[len(body) if json_length is None else json_length :]
    inputs: dict[str, Array] = {}
    for tensor in asked.inputs:
        if tensor.name in inputs:
            raise ProtocolError(f"each input may be given once; given twice: {tensor.name}")
        size = tensor.parameters.binary_data_size if tensor.parameters else None
        if size is None:
            inputs[tensor.name] = array_of(tensor)
            continue
        if size > len(binary):
            raise ProtocolError(f"input {tensor.name!r}: {size} bytes of binary data announced; {len(binary)} are left")
        inputs[tensor.name] = from_bytes(tensor.name, tensor.datatype, tensor.shape, binary[:size])
        binary = binary[size:]
    if binary:
        raise ProtocolError(f"{len(binary)} bytes of binary data belong to no input")
    wants_binary = asked.parameters.binary_data_output if asked.parameters else False
    outputs = tuple(
        WantedOutput(output.name, output.parameters.binary_data if output.parameters else wants_binary)
        for output in asked.outputs
    )
    return InferenceRequest(inputs, asked.id, outputs, wants_binary)


def read_json(body: bytes) -> Any:
    """Read JSON; NaN and infinities may be in it, as clients of this protocol write them. Raises ProtocolError."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        try:
            return pydantic_core.from_json(body)
        except ValueError as error:
            raise ProtocolError(f"the body must be JSON: {error}") from None


def _parse(body: bytes) -> InferenceBody:
    read = read_json(body)
    if not isinstance(read, dict):
        raise ProtocolError(f"the body: expected an object; got {shorten(read)}")
    try:
        return InferenceBody.model_validate(read)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]).lstrip(".")
        got = "" if first["type"] == "missing" else f"; got {shorten(first['input'])}"
        raise ProtocolError(f"{where or 'the body'}: {first['msg']}{got}") from None


def array_of(tensor: TensorData) -> Array:
    """Make an array of a tensor whose data are JSON. Raises ProtocolError for what its shape or datatype denies."""
    if not isinstance(tensor.data, list):
        raise ProtocolError(f"input {tensor.name!r}: data must be a list; got {shorten(tensor.data)}")
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


def _typed(tensor: TensorData) -> Array:
    """Make an array of the tensor's datatype; numpy would silently cut 1.5 to 1 and 1e6 to an infinite FP16."""
    target = tensor.datatype.dtype
    try:
        if target.kind == "O":
            return _texts(tensor)
        found = np.array(tensor.data)
        if target.kind in "iu" and found.dtype.kind in "fO":
            # numpy widens [1, 2**63] to floats, and orjson reads 2**64 as one; 1.5 is still refused below.
            whole = np.array(tensor.data, dtype=object)
            found = whole if all(type(value) is int or _is_huge(value) for value in whole.flat) else found
    except ValueError:
        raise ProtocolError(f"input {tensor.name!r}: nested data must have rows of equal length") from None
    kinds, expected = _ACCEPTED[target.kind]
    if found.size and found.dtype.kind not in kinds + ("O" if target.kind in "iu" else ""):
        raise ProtocolError(f"input {tensor.name!r}: {tensor.datatype} takes {expected}; got {_odd_one(found, kinds)}")
    return _in_range(tensor, found, target)


def _in_range(tensor: TensorData, found: Array, target: np.dtype[Any]) -> Array:
    message = f"input {tensor.name!r}: a number is out of the range of {tensor.datatype}"
    try:
        with np.errstate(over="ignore"):
            cast = found.astype(target)
    except (OverflowError, TypeError):
        raise ProtocolError(message) from None
    if target.kind in "iu":
        if not np.array_equal(cast, found):
            raise ProtocolError(message)
    elif target.itemsize < 8 and not np.isfinite(cast).all() and np.isinf(cast).sum() > np.isinf(found).sum():
        raise ProtocolError(message)
    return cast


def _texts(tensor: TensorData) -> Array:
    texts = np.array(tensor.data, dtype=object)
    if wrong := [value for value in texts.flat if not isinstance(value, str)]:
        raise ProtocolError(f"input {tensor.name!r}: BYTES takes strings; got {shorten(wrong[0])}")
    return texts


def _is_huge(value: object) -> bool:
    """Say whether a number is an integer beyond those of 64 bits."""
    return type(value) is float and abs(value) >= 2.0**63 and value.is_integer()


def _odd_one(found: Array, kinds: str) -> str:
    odd = (value for value in found.flat if np.asarray(value).dtype.kind not in kinds)
    return shorten(next(odd, found.flat[0]))


def encode(
    request: InferenceRequest, model_name: str, model_version: str, outputs: Mapping[str, Array]
) -> tuple[bytes, int | None]:
    """Write the answer to a request: the outputs it asks for, or all of them.

    Returns:
        The body, and how many bytes of it are JSON where binary tensors follow.

    Raises:
        ProtocolError: an output that is asked for is not there, or an array holds what the protocol cannot carry.
    """
    binary = {output.name: output.is_binary for output in request.outputs}
    told: list[dict[str, Any]] = []
    chunks: list[bytes] = []
    for name, array in request.wanted(outputs).items():
        tensor: dict[str, Any] = {"name": name, "datatype": Datatype.of(array.dtype).value, "shape": array.shape}
        if binary.get(name, request.wants_binary):
            chunks.append(as_bytes(name, array))
            tensor["parameters"] = {"binary_data_size": len(chunks[-1])}
        else:
            tensor["data"] = json_data(name, array)
        told.append(tensor)
    answer: dict[str, Any] = {"model_name": model_name, "model_version": model_version}
    if request.id is not None:
        answer["id"] = request.id
    answer["outputs"] = told
    head = write_json(answer, outputs.values())
    return (b"".join([head, *chunks]), len(head)) if chunks else (head, None)


def json_data(name: str, array: Array) -> Any:
    """Give an array's elements, flat, as `write_json` takes them."""
    flat = np.ascontiguousarray(array).ravel()
    return [text(name, value) for value in flat] if Datatype.of(array.dtype) is Datatype.BYTES else flat


def write_json(value: Any, arrays: Iterable[Array]) -> bytes:
    """Write JSON with numpy arrays in it.

    Args:
        value: what to write.
        arrays: those in it. NaN and infinities are written as such, which JSON lacks and every client of this protocol
            reads; orjson would make them null.
    """
    if all(array.dtype.kind != "f" or np.isfinite(array).all() for array in arrays):
        return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
    return pydantic_core.to_json(value, inf_nan_mode="constants", fallback=lambda array: array.tolist())


def error_body(message: str) -> bytes:
    """Write the body of every answer that is not a success."""
    return orjson.dumps({"error": message})
