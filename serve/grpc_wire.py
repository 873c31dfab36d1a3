"""The protocol over gRPC: `ModelInferRequest` and `ModelInferResponse`, serialized, as values and back.

Tensors come as raw bytes (what clients send) or as typed contents, never both, and go back in the same form. FP16 has
only the raw one.
Source: https://github.com/kserve/open-inference-protocol, `inference_grpc.md`.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from serve.grpc_messages import ModelInferRequest, ModelInferResponse, message
from serve.protocol import (
    Array,
    Datatype,
    InferenceRequest,
    ModelMetadata,
    ProtocolError,
    WantedOutput,
    as_bytes,
    from_bytes,
    text,
)
from serve.rest import TensorData, array_of

_CONTENTS = {
    Datatype.BOOL: "bool_contents",
    Datatype.INT8: "int_contents",
    Datatype.INT16: "int_contents",
    Datatype.INT32: "int_contents",
    Datatype.INT64: "int64_contents",
    Datatype.UINT8: "uint_contents",
    Datatype.UINT16: "uint_contents",
    Datatype.UINT32: "uint_contents",
    Datatype.UINT64: "uint64_contents",
    Datatype.FP32: "fp32_contents",
    Datatype.FP64: "fp64_contents",
    Datatype.BYTES: "bytes_contents",
}


def decode(body: bytes) -> InferenceRequest:
    """Read a serialized `ModelInferRequest`. Raises ProtocolError."""
    try:
        asked = ModelInferRequest.FromString(body)
    except DecodeError as error:
        raise ProtocolError(f"the message is no ModelInferRequest: {error}") from None
    if not asked.inputs:
        raise ProtocolError("inputs: at least one is needed")
    raw = asked.raw_input_contents
    if raw and len(raw) != len(asked.inputs):
        raise ProtocolError(f"raw_input_contents: {len(asked.inputs)} needed, one for each input; got {len(raw)}")
    inputs: dict[str, Array] = {}
    for index, tensor in enumerate(asked.inputs):
        if tensor.name in inputs:
            raise ProtocolError(f"each input may be given once; given twice: {tensor.name}")
        inputs[tensor.name] = _decode(tensor, raw[index] if raw else None)
    outputs = tuple(WantedOutput(output.name, is_binary=bool(raw)) for output in asked.outputs)
    return InferenceRequest(inputs, asked.id or None, outputs, wants_binary=bool(raw))


def _decode(tensor: Any, raw: bytes | None) -> Array:
    shape = tuple(tensor.shape)
    if any(size < 0 for size in shape):
        raise ProtocolError(f"input {tensor.name!r}: a shape has no negative sizes; got {list(shape)}")
    try:
        datatype = Datatype(tensor.datatype)
    except ValueError:
        raise ProtocolError(f"input {tensor.name!r}: the protocol has no datatype {tensor.datatype!r}") from None
    if raw is not None:
        return from_bytes(tensor.name, datatype, shape, memoryview(raw))
    if datatype not in _CONTENTS:
        raise ProtocolError(f"input {tensor.name!r}: {datatype} comes in raw_input_contents")
    data: list[Any] = list(getattr(tensor.contents, _CONTENTS[datatype]))
    if datatype is Datatype.BYTES:
        data = [text(tensor.name, value) for value in data]
    return array_of(TensorData(name=tensor.name, shape=shape, datatype=datatype, data=data))


def encode(request: InferenceRequest, model_name: str, model_version: str, outputs: Mapping[str, Array]) -> bytes:
    """Write the answer to a request, serialized. Raises ProtocolError for an output that is not there."""
    answer = ModelInferResponse(model_name=model_name, model_version=model_version, id=request.id or "")
    given = request.wanted(outputs)
    raw = request.wants_binary or any(array.dtype == np.float16 for array in given.values())
    for name, array in given.items():
        datatype = Datatype.of(array.dtype)
        tensor = answer.outputs.add(name=name, datatype=datatype.value, shape=array.shape)
        if raw:
            answer.raw_output_contents.append(as_bytes(name, array))
        elif datatype is Datatype.BYTES:
            tensor.contents.bytes_contents.extend(text(name, value).encode() for value in array.ravel())
        else:
            getattr(tensor.contents, _CONTENTS[datatype]).extend(array.ravel().tolist())
    return bytes(answer.SerializeToString())


def model_metadata(metadata: ModelMetadata) -> bytes:
    """Write what a model takes and gives as `ModelMetadataResponse`, serialized."""
    return bytes(message("ModelMetadataResponse")(**metadata.model_dump(mode="json")).SerializeToString())
