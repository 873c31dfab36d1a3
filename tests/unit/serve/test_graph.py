"""Inference graphs over models that add a number."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from platform_app.specs import DeploymentSpec, ServedModel
from serve.graph import GraphModel
from serve.model import ModelDoesNotLoad
from serve.protocol import Datatype, ModelMetadata, TensorMetadata

HERE = "tests.unit.serve.graph_functions"
ROWS = np.array([[-1, 2], [3, 4], [-5, 6]], dtype="float32")


class Plus:
    """Adds a number to all others."""

    def __init__(self, number, width=2):
        self.number, self.closed = number, 0
        self.example = {"x": ROWS}
        tensor = TensorMetadata(name="x", datatype=Datatype.FP32, shape=(-1, width))
        self.metadata = ModelMetadata(
            name="m", versions=("1",), platform="test", inputs=(tensor,), outputs=(tensor.model_copy(),)
        )

    def predict(self, inputs):
        assert inputs["x"].dtype == np.float32
        return {"x": inputs["x"] + self.number}

    def close(self):
        self.closed += 1


def graph(node, own=1, load=lambda served: Plus(100 * served.version), chance=None):
    served = ServedModel(
        deployment="m",
        spec=DeploymentSpec(model="m", graph=node),
        version=1,
        tracking_uri="sqlite://",
        token_digests=(),
    )
    return GraphModel(served.spec.graph, Plus(own), served, load, chance)


def answer(node, rows=ROWS, **arguments):
    return graph(node, **arguments).predict({"x": rows})


def test_a_sequence_hands_on_what_each_node_gives():
    node = {"sequence": [{"function": f"{HERE}:doubled"}, "model", {"function": f"{HERE}:doubled"}]}
    np.testing.assert_array_equal(answer(node)["output"], (ROWS * 2 + 1) * 2)


def test_an_ensemble_gives_the_mean_of_its_nodes():
    node = {"ensemble": ["model", {"model": "other", "version": 3}]}
    np.testing.assert_allclose(answer(node)["x"], ROWS + (1 + 300) / 2)
    assert answer(node)["x"].dtype == np.float32


def test_an_ensemble_that_votes_names_the_class_that_most_name():
    def load(served):
        favourite = Plus(0)
        favourite.predict = lambda inputs: {"x": np.eye(2, dtype="float32")[[served.version - 1] * len(inputs["x"])]}
        return favourite

    others = [{"model": "other", "version": version} for version in (1, 1 + 1)]
    # The model itself favours class 1 in each row, one of the others too.
    assert answer({"ensemble": ["model", *others], "combine": "vote"}, load=load)["output"].tolist() == [1, 1, 1]


def test_an_ensemble_may_combine_by_a_function():
    node = {"ensemble": ["model", {"model": "other", "version": 1}], "combine": f"{HERE}:highest"}
    np.testing.assert_array_equal(answer(node)["highest"], ROWS + 100)


def test_a_switch_answers_each_row_by_its_case_and_keeps_the_order():
    node = {"switch": f"{HERE}:by_sign", "cases": {"low": {"model": "other", "version": 2}, "high": "model"}}
    np.testing.assert_array_equal(answer(node)["x"], ROWS + np.array([[200], [1], [200]]))


@given(rows=st.lists(st.tuples(*[st.integers(-9, 9)] * 2), min_size=1, max_size=20), seed=st.integers(0, 9))
def test_a_splitter_answers_every_row_once_by_one_of_its_nodes(rows, seed):
    rows = np.array(rows, dtype="float32")
    shares = [{"weight": 1, "node": "model"}, {"weight": 3, "node": {"model": "other", "version": 1}}]
    got = answer({"splitter": shares}, rows, chance=random.Random(seed))["x"] - rows
    assert got.shape == rows.shape
    assert {tuple(row) for row in got.tolist()} <= {(1, 1), (100, 100)}


def test_a_splitter_draws_by_its_weights():
    shares = [{"weight": 1, "node": "model"}, {"weight": 3, "node": {"model": "other", "version": 1}}]
    got = answer({"splitter": shares}, np.zeros((4000, 2), "float32"), chance=random.Random(0))["x"]
    assert (got[:, 0] == 100).mean() == pytest.approx(0.75, abs=0.03)


def test_a_model_that_is_named_twice_is_loaded_once_and_all_are_closed():
    loaded = []

    def load(served):
        loaded.append(Plus(served.version))
        return loaded[-1]

    other = {"model": "other", "version": 2}
    found = graph({"ensemble": ["model", other, {"sequence": [other, "model"]}]}, load=load)
    assert len(loaded) == 1
    found.close()
    assert loaded[0].closed == 1


def test_a_graph_takes_and_gives_what_its_first_and_last_models_do():
    metadata = graph({"sequence": ["model", {"ensemble": ["model", {"model": "other", "version": 1}]}]}).metadata
    assert metadata.inputs == metadata.outputs == Plus(0).metadata.inputs


def test_what_a_function_takes_and_gives_is_not_said():
    metadata = graph({"sequence": [{"function": f"{HERE}:doubled"}, "model"]}).metadata
    assert (metadata.inputs, metadata.outputs) == ((), Plus(0).metadata.outputs)
    assert graph({"ensemble": ["model", "model"], "combine": "vote"}).metadata.outputs == ()


@pytest.mark.parametrize(
    ("node", "said"),
    [
        ({"switch": f"{HERE}:by_sign", "cases": {"low": "model"}}, "named high; its cases are low"),
        ({"switch": f"{HERE}:one_name_too_few", "cases": {"low": "model", "high": "model"}}, "2 cases for 3 rows"),
    ],
)
def test_a_switch_that_names_no_case_of_a_row_is_told_by_the_answer(node, said):
    with pytest.raises(ValueError, match=said):
        answer(node)


def test_a_function_that_is_not_there_is_named_and_what_was_loaded_is_closed():
    other = Plus(0)
    with pytest.raises(ModelDoesNotLoad, match="nowhere:at_all is not there"):
        graph(
            {"sequence": [{"model": "other", "version": 1}, "model", {"function": "nowhere:at_all"}]},
            load=lambda _: other,
        )
    assert other.closed == 1


@pytest.mark.parametrize(
    ("node", "said"),
    [
        ({"model": "other", "version": 1}, "own model is nowhere in it"),
        ({"sequence": ["modle"]}, "expected `model`"),
        ({"sequence": []}, "at least 1 item"),
        ({"ensemble": ["model"]}, "at least 2 items"),
        ({"splitter": [{"weight": 0, "node": "model"}, {"weight": 1, "node": "model"}]}, "greater than 0"),
        ({"model": "other"}, "Field required"),
        ({"function": "no colon"}, "String should match pattern"),
    ],
)
def test_a_graph_that_cannot_be_is_refused_by_the_spec(node, said):
    with pytest.raises(ValidationError, match=said):
        DeploymentSpec(model="m", graph=node)


def test_a_graph_survives_its_own_json():
    spec = DeploymentSpec(
        model="m", graph={"sequence": ["model", {"ensemble": ["model", {"model": "o", "version": 1}]}]}
    )
    assert DeploymentSpec.model_validate_json(spec.model_dump_json()) == spec
