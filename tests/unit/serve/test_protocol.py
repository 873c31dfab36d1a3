"""The Open Inference Protocol v2: every array survives the wire; every mistake is named."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from serve.protocol import (
    Datatype,
    ProtocolError,
    TensorMetadata,
    check,
    decode,
    encode,
    error_response,
    inference_response,
    parse,
)

SHAPES = hnp.array_shapes(max_dims=3, max_side=4)


@st.composite
def arrays(draw):
    datatype = draw(st.sampled_from(list(Datatype)))
    shape = draw(SHAPES)
    if datatype is Datatype.BYTES:
        texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
        return draw(hnp.arrays(object, shape, elements=texts))
    return draw(hnp.arrays(datatype.dtype, shape))


def body(*inputs, **fields):
    return json.dumps({"inputs": list(inputs), **fields}).encode()


def tensor(name="x", shape=(2, 2), datatype="FP32", data=(1, 2, 3, 4)):
    return {"name": name, "shape": list(shape), "datatype": datatype, "data": list(data)}


def error_of(call, *args):
    with pytest.raises(ProtocolError) as caught:
        call(*args)
    return str(caught.value)


@given(arrays(), st.booleans())
def test_any_array_of_any_datatype_survives_the_wire(array, nested):
    sent = encode("x", array)
    if nested:
        sent["data"] = array.tolist()
    received = decode(parse(body(sent)))["x"]
    assert received.dtype == array.dtype
    assert received.shape == array.shape
    if array.dtype.kind == "f":
        np.testing.assert_array_equal(received, array)
    else:
        assert (received == array).all()


@given(arrays())
def test_an_answer_is_what_the_protocol_says(array):
    request = parse(body(tensor(), id="42"))
    answer = json.loads(inference_response(request, "digits", "3", {"y": array}))
    assert answer["model_name"] == "digits"
    assert answer["model_version"] == "3"
    assert answer["id"] == "42"
    (output,) = answer["outputs"]
    assert output["shape"] == list(array.shape)
    assert len(output["data"]) == array.size


def test_an_answer_to_a_request_without_id_has_none():
    assert "id" not in json.loads(inference_response(parse(body(tensor())), "digits", "3", {}))


def test_only_the_outputs_asked_for_are_answered_in_their_order():
    request = parse(body(tensor(), outputs=[{"name": "b"}, {"name": "a"}]))
    outputs = {name: np.zeros(1) for name in "abc"}
    answer = json.loads(inference_response(request, "digits", "3", outputs))
    assert [output["name"] for output in answer["outputs"]] == ["b", "a"]


def test_an_output_that_the_model_lacks_is_named():
    request = parse(body(tensor(), outputs=[{"name": "z"}]))
    assert error_of(inference_response, request, "digits", "3", {"a": np.zeros(1)}) == (
        "the model gives the outputs 'a'; got 'z'"
    )


def test_unknown_fields_and_parameters_are_ignored():
    sent = {**tensor(), "parameters": {"content_type": "np"}, "later": 1}
    assert decode(parse(body(sent, parameters={"priority": 1})))["x"].shape == (2, 2)


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (b"not json", "the body must be JSON: expected ident at line 1 column 2"),
        (b"[]", "the body: Input should be an object; got []"),
        (b"{}", "inputs: Field required"),
        (body(), "inputs: Tuple should have at least 1 item after validation, not 0; got []"),
        (body({"name": "x"}), "inputs[0].shape: Field required"),
        (body(tensor(shape=[-1])), "inputs[0].shape[0]: Input should be greater than or equal to 0; got -1"),
        (body(tensor(shape=["2"])), "inputs[0].shape[0]: Input should be a valid integer; got '2'"),
    ],
)
def test_a_body_that_is_no_request_is_refused_with_the_place(sent, message):
    assert error_of(parse, sent) == message


def test_an_unknown_datatype_is_answered_with_the_known_ones():
    message = error_of(parse, body(tensor(datatype="FP8")))
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
    assert error_of(decode, parse(body(sent))) == message


def test_integers_beyond_the_floats_are_kept_exactly():
    sent = tensor(datatype="UINT64", data=[1, 2**53 + 1, 2**63, 2**64 - 1])
    assert decode(parse(body(sent)))["x"].ravel().tolist() == sent["data"]


def test_an_input_given_twice_is_refused():
    assert error_of(decode, parse(body(tensor(), tensor()))) == "each input may be given once; given twice: x"


EXPECTED = (TensorMetadata(name="x", datatype=Datatype.FP32, shape=(-1, 2)),)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"y": np.zeros((1, 2), "f4")}, "the model takes the inputs 'x'; got 'y'"),
        ({}, "the model takes the inputs 'x'; without 'x'"),
        ({"x": np.zeros((1, 2))}, "input 'x': expected datatype FP32; got FP64"),
        ({"x": np.zeros((1, 3), "f4")}, "input 'x': expected shape [-1, 2] (-1: any size); got [1, 3]"),
        ({"x": np.zeros(2, "f4")}, "input 'x': expected shape [-1, 2] (-1: any size); got [2]"),
        ({"x": np.zeros((0, 2), "f4")}, "input 'x': shape [0, 2] holds nothing; send at least one row"),
    ],
)
def test_inputs_that_are_not_the_models_are_refused(inputs, message):
    assert error_of(check, inputs, EXPECTED) == message


def test_a_model_that_says_nothing_of_its_inputs_takes_any():
    check({"anything": np.zeros((1, 7))}, ())


def test_an_array_that_the_protocol_cannot_carry_is_an_error():
    assert error_of(encode, "y", np.zeros(1, "c8")) == "the protocol has no datatype for numpy's complex64"
    assert error_of(encode, "y", np.array([b"\xff"], object)) == "tensor 'y': JSON carries UTF-8 text; got other bytes"


def test_errors_have_the_protocols_form():
    assert json.loads(error_response("no")) == {"error": "no"}
