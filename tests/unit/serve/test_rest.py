"""The protocol over REST: every array survives the wire, as JSON and as bytes; every mistake is named."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.protocol import InferenceRequest, ProtocolError, WantedOutput
from serve.rest import decode, encode, error_body
from tests.unit.serve.tensors import arrays, same


def body(*inputs, **fields):
    return json.dumps({"inputs": list(inputs), **fields}).encode()


def tensor(name="x", shape=(2, 2), datatype="FP32", data=(1, 2, 3, 4)):
    return {"name": name, "shape": list(shape), "datatype": datatype, "data": list(data)}


def error_of(call, *args):
    with pytest.raises(ProtocolError) as caught:
        call(*args)
    return str(caught.value)


ONE = InferenceRequest({})
"""Wants all outputs, as JSON."""


@given(arrays(), st.booleans())
def test_any_array_of_any_datatype_survives_json(array, nested):
    sent, _ = encode(ONE, "m", "1", {"x": array})
    (output,) = json.loads(sent)["outputs"]
    if nested:
        output["data"] = array.tolist()
    same(decode(body(output)).inputs["x"], array)


@given(arrays(), arrays())
def test_any_array_of_any_datatype_survives_as_bytes(left, right):
    sent, length = encode(InferenceRequest({}, wants_binary=True), "m", "1", {"x": left, "y": right})
    told = json.loads(sent[:length])
    head = body(*told["outputs"])
    received = decode(head + sent[length:], len(head)).inputs
    same(received["x"], left)
    same(received["y"], right)


def test_an_answer_says_which_model_gave_it():
    answer = json.loads(encode(InferenceRequest({}, id="42"), "digits", "3", {"y": np.zeros((2, 1))})[0])
    assert answer["model_name"] == "digits"
    assert answer["model_version"] == "3"
    assert answer["id"] == "42"
    assert answer["outputs"] == [{"name": "y", "datatype": "FP64", "shape": [2, 1], "data": [0.0, 0.0]}]


def test_an_answer_to_a_request_without_id_has_none():
    assert "id" not in json.loads(encode(ONE, "digits", "3", {})[0])


def test_only_the_outputs_asked_for_are_answered_in_their_order_and_form():
    request = decode(body(tensor(), outputs=[{"name": "b", "parameters": {"binary_data": True}}, {"name": "a"}]))
    assert request.outputs == (WantedOutput("b", is_binary=True), WantedOutput("a"))
    sent, length = encode(request, "digits", "3", {name: np.zeros(1) for name in "abc"})
    outputs = json.loads(sent[:length])["outputs"]
    assert [output["name"] for output in outputs] == ["b", "a"]
    assert outputs[0]["parameters"] == {"binary_data_size": 8}
    assert outputs[1]["data"] == [0.0]
    assert sent[length:] == bytes(8)


def test_an_output_that_the_model_lacks_is_named():
    request = decode(body(tensor(), outputs=[{"name": "z"}]))
    assert error_of(encode, request, "digits", "3", {"a": np.zeros(1)}) == "the model gives the outputs 'a'; got 'z'"


def test_numbers_that_json_lacks_are_written_and_read_as_every_client_does():
    sent, _ = encode(ONE, "m", "1", {"x": np.array([np.nan, np.inf, -np.inf, 1.5], "f4"), "y": np.zeros(1)})
    assert b"[NaN,Infinity,-Infinity,1.5]" in sent
    received = decode(body(*json.loads(sent)["outputs"])).inputs["x"]
    np.testing.assert_array_equal(received, np.array([np.nan, np.inf, -np.inf, 1.5], "f4"))


def test_unknown_fields_and_parameters_are_ignored():
    sent = {**tensor(), "parameters": {"content_type": "np"}, "later": 1}
    assert decode(body(sent, parameters={"priority": 1})).inputs["x"].shape == (2, 2)


BINARY = {"name": "x", "shape": [1], "datatype": "FP32", "parameters": {"binary_data_size": 4}}


@pytest.mark.parametrize(
    ("head", "rest", "message"),
    [
        (body(BINARY), b"123", "input 'x': 4 bytes of binary data announced; 3 are left"),
        (body(BINARY), b"12345", "1 bytes of binary data belong to no input"),
        (body(tensor(data=[])), b"", "input 'x': shape [2, 2] needs 4 elements, data has 0"),
        (body({"name": "x", "shape": [1], "datatype": "FP32"}), b"", "input 'x': data must be a list; got None"),
    ],
)
def test_binary_data_that_belong_nowhere_are_refused(head, rest, message):
    assert error_of(decode, head + rest, len(head)) == message


def test_a_length_of_the_json_beyond_the_body_is_refused():
    assert error_of(decode, b"{}", 3) == "inference-header-content-length says 3; the body has 2 bytes"


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (b"not json", "the body must be JSON: expected ident at line 1 column 2"),
        (b"[]", "the body: expected an object; got []"),
        (b"{}", "inputs: Field required"),
        (body(), "inputs: Tuple should have at least 1 item after validation, not 0; got []"),
        (body({"name": "x"}), "inputs[0].shape: Field required"),
        (body(tensor(shape=[-1])), "inputs[0].shape[0]: Input should be greater than or equal to 0; got -1"),
        (body(tensor(shape=["2"])), "inputs[0].shape[0]: Input should be a valid integer; got '2'"),
    ],
)
def test_a_body_that_is_no_request_is_refused_with_the_place(sent, message):
    assert error_of(decode, sent) == message


def test_an_unknown_datatype_is_answered_with_the_known_ones():
    message = error_of(decode, body(tensor(datatype="FP8")))
    assert message.startswith("inputs[0].datatype: Input should be 'BOOL'")
    assert message.endswith("got 'FP8'")


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (tensor(shape=[3]), "input 'x': shape [3] needs 3 elements, data has 4"),
        (tensor(data=[[1, 2, 3], [4, 5, 6]]), "input 'x': data is nested as [2, 3], shape says [2, 2]"),
        (tensor(data=[[1, 2], [3]]), "input 'x': nested data must have rows of equal length"),
        (tensor(data=[1, "a", 3, 4]), "input 'x': FP32 takes numbers; got '1'"),
        (tensor(data=[1, None, 3, 4]), "input 'x': FP32 takes numbers; got None"),
        (tensor(datatype="INT64", data=[1.5, 2, 3, 4]), "input 'x': INT64 takes integers; got 1.5"),
        (tensor(datatype="BOOL", data=[0, 1, 1, 0]), "input 'x': BOOL takes true and false; got 0"),
        (tensor(datatype="BYTES", data=["a", "b", "c", 4]), "input 'x': BYTES takes strings; got 4"),
        (tensor(datatype="INT8", data=[1, 2, 3, 300]), "input 'x': a number is out of the range of INT8"),
        (tensor(datatype="UINT8", data=[1, 2, 3, -1]), "input 'x': a number is out of the range of UINT8"),
        (tensor(datatype="UINT64", data=[1, 2, 3, 2**64]), "input 'x': a number is out of the range of UINT64"),
        (tensor(datatype="FP16", data=[1, 2, 3, 1e6]), "input 'x': a number is out of the range of FP16"),
    ],
)
def test_data_that_does_not_fit_is_refused_with_the_input(sent, message):
    assert error_of(decode, body(sent)) == message


def test_integers_beyond_the_floats_are_kept_exactly():
    sent = tensor(datatype="UINT64", data=[1, 2**53 + 1, 2**63, 2**64 - 1])
    assert decode(body(sent)).inputs["x"].ravel().tolist() == sent["data"]


def test_an_input_given_twice_is_refused():
    assert error_of(decode, body(tensor(), tensor())) == "each input may be given once; given twice: x"


def test_an_array_that_the_protocol_cannot_carry_is_an_error():
    complex_one = {"y": np.zeros(1, "c8")}
    assert error_of(encode, ONE, "m", "1", complex_one) == "the protocol has no datatype for numpy's complex64"
    bytes_one = {"y": np.array([b"\xff"], object)}
    assert error_of(encode, ONE, "m", "1", bytes_one) == "tensor 'y': BYTES carries UTF-8 text; got other bytes"


def test_errors_have_the_protocols_form():
    assert json.loads(error_body("no")) == {"error": "no"}
