"""Plain JSON rows as inputs of a model, and predictions as rows."""

import json

import numpy as np
import pytest

from serve.protocol import Datatype, ProtocolError, TensorMetadata
from serve.rows import decode, encode

IMAGE = (TensorMetadata(name="input", datatype=Datatype.FP32, shape=(-1, 2)),)
COLUMNS = (
    TensorMetadata(name="word", datatype=Datatype.BYTES, shape=(-1,)),
    TensorMetadata(name="size", datatype=Datatype.INT64, shape=(-1,)),
)


def read(rows, inputs):
    return decode(json.dumps({"rows": rows}).encode(), inputs).inputs


def test_a_row_of_one_input_is_its_element():
    assert read([[1, 2], [3, 4]], IMAGE)["input"].tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize("rows", [[["a", 1], ["b", 2]], [{"size": 1, "word": "a"}, {"word": "b", "size": 2}]])
def test_a_row_of_columns_is_a_list_in_their_order_or_an_object(rows):
    given = read(rows, COLUMNS)
    assert given["word"].tolist() == ["a", "b"]
    assert given["size"].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("rows", "inputs", "message"),
    [
        ([], IMAGE, "rows: send at least one"),
        (1, IMAGE, 'the body must be {"rows": [row, ...]}'),
        ([[1, 2], [3]], IMAGE, "input 'input': nested data must have rows of equal length"),
        ([["a", 1], ["b"]], COLUMNS, "rows[1]: expected a list of 2 values; got ['b']"),
        ([{"word": "a"}], COLUMNS, "rows[0]: expected an object of word, size; got ['word']"),
        ([["a", 1.5]], COLUMNS, "input 'size': INT64 takes integers; got 1.5"),
        ([[1, 2]], (), "the model has no signature to read rows by"),
    ],
)
def test_rows_that_are_not_the_models_are_refused(rows, inputs, message):
    with pytest.raises(ProtocolError) as caught:
        read(rows, inputs)
    assert str(caught.value).startswith(message)


def test_predictions_are_rows_too():
    assert json.loads(encode({"y": np.array([[1.5], [2]])}, "digits", "3")) == {
        "model_name": "digits",
        "model_version": "3",
        "predictions": [[1.5], [2.0]],
    }


def test_predictions_of_several_outputs_are_objects():
    outputs = {"label": np.array(["a", b"b"], object), "score": np.array([0.5, np.nan])}
    told = json.loads(encode(outputs, "digits", "3"))["predictions"]
    assert told[0] == {"label": "a", "score": 0.5}
    assert np.isnan(told[1]["score"])
