"""The protocol over gRPC: the messages are those that clients have, and every array survives the wire."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2

from serve.grpc_messages import ModelInferRequest, ModelInferResponse, message
from serve.grpc_wire import decode, encode, model_metadata
from serve.protocol import Datatype, InferenceRequest, ModelMetadata, ProtocolError, TensorMetadata
from tests.unit.serve.tensors import arrays, same

ONE = InferenceRequest({})


@pytest.mark.parametrize(
    "name",
    [
        *(f"Server{what}{way}" for what in ("Live", "Ready", "Metadata") for way in ("Request", "Response")),
        *(f"Model{what}{way}" for what in ("Ready", "Metadata", "Infer") for way in ("Request", "Response")),
        "InferParameter",
        "InferTensorContents",
    ],
)
def test_the_messages_are_those_of_a_client(name):
    compare(message(name).DESCRIPTOR, getattr(service_pb2, name).DESCRIPTOR)


def compare(ours, theirs):
    for field in ours.fields:
        known = theirs.fields_by_name[field.name]
        assert (field.number, field.type, field.is_repeated) == (known.number, known.type, known.is_repeated)
        if field.message_type is not None:
            compare(field.message_type, known.message_type)


@given(arrays(), st.booleans())
def test_any_array_of_any_datatype_survives(array, raw):
    answer = ModelInferResponse.FromString(encode(InferenceRequest({}, wants_binary=raw), "m", "1", {"x": array}))
    asked = ModelInferRequest(raw_input_contents=answer.raw_output_contents)
    tensor = answer.outputs[0]
    asked.inputs.add(name="x", datatype=tensor.datatype, shape=tensor.shape, contents=bytes_of(tensor.contents))
    same(decode(asked.SerializeToString()).inputs["x"], array)


def bytes_of(contents):
    return type(ModelInferRequest().inputs.add().contents).FromString(contents.SerializeToString())


def asked(raw=(), **fields):
    request = ModelInferRequest(raw_input_contents=raw)
    request.inputs.add(**{"name": "x", "datatype": "FP32", "shape": [1], **fields})
    return request


@pytest.mark.parametrize(
    ("request_bytes", "refusal"),
    [
        (b"\xff", "the message is no ModelInferRequest"),
        (b"", "inputs: at least one is needed"),
        (asked(raw=[b"1234", b"1"]), "raw_input_contents: 1 needed, one for each input; got 2"),
        (asked(raw=[b"123"]), "input 'x': shape [1] of FP32 needs 4 bytes; got 3"),
        (asked(datatype="FP8"), "input 'x': the protocol has no datatype 'FP8'"),
        (asked(shape=[-1]), "input 'x': a shape has no negative sizes; got [-1]"),
        (asked(), "input 'x': shape [1] needs 1 elements, data has 0"),
        (asked(datatype="FP16"), "input 'x': FP16 comes in raw_input_contents"),
    ],
)
def test_a_message_that_does_not_fit_is_refused(request_bytes, refusal):
    sent = request_bytes if isinstance(request_bytes, bytes) else request_bytes.SerializeToString()
    with pytest.raises(ProtocolError) as caught:
        decode(sent)
    assert str(caught.value).startswith(refusal)


def test_a_model_describes_itself():
    x = TensorMetadata(name="x", datatype=Datatype.FP32, shape=(-1, 2))
    told = ModelMetadata(name="m", versions=("3",), platform="mlflow_sklearn", inputs=(x,), outputs=())
    read = service_pb2.ModelMetadataResponse.FromString(model_metadata(told))
    assert (read.name, list(read.versions), read.platform) == ("m", ["3"], "mlflow_sklearn")
    assert (read.inputs[0].name, read.inputs[0].datatype, list(read.inputs[0].shape)) == ("x", "FP32", [-1, 2])


def test_an_answer_says_which_model_gave_it():
    answer = service_pb2.ModelInferResponse.FromString(
        encode(InferenceRequest({}, id="42"), "digits", "3", {"y": np.zeros(1, "f4")})
    )
    assert (answer.model_name, answer.model_version, answer.id) == ("digits", "3", "42")
