"""The Open Inference Protocol v2, as values: tensors, what a model takes and gives, one request, one answer.

Nothing here knows a wire, Ray or a model: `serve.rest`, `serve.grpc_wire` and `serve.rows` read and write these values.
What a client did wrong is a `ProtocolError` that names the input, what was expected and what was got.
Source: https://github.com/kserve/open-inference-protocol, `inference_rest.md` and `inference_grpc.md`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

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
    """Text: an array of Python strings; on a binary wire, as UTF-8."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The numpy type of such elements; `object` (holding `str`) for BYTES."""
        return _DTYPES[self]

    @classmethod
    def of(cls, dtype: np.dtype[Any]) -> "Datatype":
        """Give the datatype that carries a numpy type. Raises ProtocolError where none does."""
        if dtype.kind in "OUS":
            return cls.BYTES
        try:
            return _BY_DTYPE[dtype.newbyteorder("=")]
        except KeyError:
            raise ProtocolError(f"the protocol has no datatype for numpy's {dtype}") from None


_DTYPES = {
    Datatype.BOOL: np.dtype("bool"),
    **{
        Datatype(f"{sign}INT{bits}"): np.dtype(f"{sign.lower()}int{bits}")
        for sign in ("", "U")
        for bits in (8, 16, 32, 64)
    },
    Datatype.FP16: np.dtype("float16"),
    Datatype.FP32: np.dtype("float32"),
    Datatype.FP64: np.dtype("float64"),
    Datatype.BYTES: np.dtype("object"),
}
_BY_DTYPE = {dtype: datatype for datatype, dtype in _DTYPES.items()}


class Value(BaseModel):
    """A part of the protocol's JSON: unknown fields are ignored, as it asks for."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)


class TensorMetadata(Value):
    """What a model expects or gives under a name."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...]
    """-1 stands for any size."""
    allows_nan: bool = Field(default=True, exclude=True)
    """Whether a missing value, NaN, may be in it."""


class ModelMetadata(Value):
    """What a client may know of a served model."""

    name: str
    versions: tuple[str, ...]
    platform: str
    """`{project}_{format}`, such as `mlflow_pytorch`."""
    inputs: tuple[TensorMetadata, ...]
    outputs: tuple[TensorMetadata, ...]


class ServerMetadata(Value):
    """Who answers, and what it can do beyond the protocol."""

    name: str
    version: str
    extensions: tuple[str, ...]


EXTENSIONS = ("binary_tensor_data",)
"""Of the protocol's optional parts, those that there are."""


@dataclass(frozen=True, slots=True)
class WantedOutput:
    """One output that the client wants."""

    name: str
    is_binary: bool = False


@dataclass(frozen=True, slots=True)
class InferenceRequest:
    """One request, whatever wire it came over."""

    inputs: dict[str, Array]
    id: str | None = None
    outputs: tuple[WantedOutput, ...] = ()
    """Empty: all that the model gives."""
    wants_binary: bool = False
    """How outputs go back that are not named in `outputs`."""

    def wanted(self, given: Mapping[str, Array]) -> dict[str, Array]:
        """Give the outputs that were asked for, or all. Raises ProtocolError for one that is not there."""
        check_outputs(self.outputs, tuple(given))
        return {output.name: given[output.name] for output in self.outputs} if self.outputs else dict(given)


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
        if not tensor.allows_nan and array.dtype.kind == "f" and np.isnan(array).any():
            raise ProtocolError(f"input {tensor.name!r}: the model's signature allows no missing value; got NaN")
    for name, array in inputs.items():
        if array.size == 0:
            raise ProtocolError(f"input {name!r}: shape {list(array.shape)} holds nothing; send at least one row")


def check_outputs(wanted: Sequence[WantedOutput], known: Sequence[str]) -> None:
    """Raise ProtocolError for a wanted output that is not among the known ones."""
    if wrong := [output.name for output in wanted if output.name not in known]:
        raise ProtocolError(f"the model gives the outputs {', '.join(map(repr, known))}; got {wrong[0]!r}")


def as_bytes(name: str, array: Array) -> bytes:
    """Give a tensor as a binary wire has it: row-major, little-endian; of BYTES, each element after its length."""
    if Datatype.of(array.dtype) is not Datatype.BYTES:
        return np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
    parts = [text(name, value).encode() for value in array.ravel()]
    return b"".join(len(part).to_bytes(4, "little") + part for part in parts)


def from_bytes(name: str, datatype: Datatype, shape: tuple[int, ...], data: memoryview) -> Array:
    """Read a tensor of a binary wire; numbers stay where they are, uncopied. Raises ProtocolError where they misfit."""
    if datatype is Datatype.BYTES:
        return _texts(name, shape, bytes(data))
    dtype = datatype.dtype.newbyteorder("<")
    count = math.prod(shape)
    if len(data) != count * dtype.itemsize:
        raise ProtocolError(
            f"input {name!r}: shape {list(shape)} of {datatype} needs {count * dtype.itemsize} bytes; got {len(data)}"
        )
    return np.frombuffer(data, dtype).reshape(shape)


def _texts(name: str, shape: tuple[int, ...], data: bytes) -> Array:
    texts: list[str] = []
    at = 0
    while at < len(data):
        end = at + 4 + int.from_bytes(data[at : at + 4], "little")
        if end > len(data):
            raise ProtocolError(f"input {name!r}: an element of BYTES is longer than what is left of the data")
        try:
            texts.append(data[at + 4 : end].decode())
        except UnicodeDecodeError:
            raise ProtocolError(f"input {name!r}: BYTES takes UTF-8 text; got other bytes") from None
        at = end
    if len(texts) != math.prod(shape):
        raise ProtocolError(f"input {name!r}: shape {list(shape)} needs {math.prod(shape)} elements; got {len(texts)}")
    return np.array(texts, dtype=object).reshape(shape)


def text(name: str, value: object) -> str:
    """Give an element of a BYTES output as text. Raises ProtocolError for what is none."""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise ProtocolError(f"tensor {name!r}: BYTES carries UTF-8 text; got other bytes") from None
    if not isinstance(value, str):
        raise ProtocolError(f"tensor {name!r}: BYTES takes text; got {shorten(value)}")
    return value


def shorten(value: object) -> str:
    """Show a value in a message, however long it is."""
    text = repr(value.item() if isinstance(value, np.generic) else value)
    return text if len(text) <= 60 else f"{text[:57]}..."
