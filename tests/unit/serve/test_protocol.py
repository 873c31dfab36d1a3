"""What a request is checked against: names, datatypes, shapes and missing values of the model's signature."""

import numpy as np
import pytest

from serve.protocol import Datatype, ProtocolError, TensorMetadata, as_bytes, check, from_bytes


def error_of(call, *args):
    with pytest.raises(ProtocolError) as caught:
        call(*args)
    return str(caught.value)


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


def test_nan_is_refused_where_the_signature_allows_no_missing_value():
    gap = {"x": np.array([[1, np.nan]], "f4")}
    check(gap, EXPECTED)
    strict = EXPECTED[0].model_copy(update={"allows_nan": False})
    assert error_of(check, gap, (strict,)) == "input 'x': the model's signature allows no missing value; got NaN"


def test_binary_numbers_stay_where_they_are():
    data = memoryview(np.arange(4, dtype="f4").tobytes())
    array = from_bytes("x", Datatype.FP32, (2, 2), data)
    assert np.shares_memory(array, np.frombuffer(data, "u1"))
    assert as_bytes("x", array) == bytes(data)


@pytest.mark.parametrize(
    ("datatype", "data", "message"),
    [
        (Datatype.FP32, b"123", "input 'x': shape [1] of FP32 needs 4 bytes; got 3"),
        (Datatype.BYTES, b"\x09\0\0\0a", "input 'x': an element of BYTES is longer than what is left of the data"),
        (Datatype.BYTES, b"\x01\0\0\0\xff", "input 'x': BYTES takes UTF-8 text; got other bytes"),
        (Datatype.BYTES, b"", "input 'x': shape [1] needs 1 elements; got 0"),
    ],
)
def test_binary_data_that_do_not_fit_are_refused(datatype, data, message):
    assert error_of(from_bytes, "x", datatype, (1,), memoryview(data)) == message
