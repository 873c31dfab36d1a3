"""Models as MLflow saves them: what they say of themselves, and what they answer."""

import numpy as np
import pandas as pd
import pytest

from platform_app.specs import DeploymentSpec, ServedModel
from serve.model import ModelDoesNotLoad, load_model, open_model
from serve.protocol import Datatype

mlflow = pytest.importorskip("mlflow")
torch = pytest.importorskip("torch")

from mlflow.models import ModelSignature  # noqa: E402
from mlflow.types import ColSpec, Schema, TensorSpec  # noqa: E402

SERVED = ServedModel(
    deployment="m", spec=DeploymentSpec(model="m"), version=1, tracking_uri="sqlite://", token_digests=()
)
ROWS = np.array([[1, 2], [3, 4]], dtype="float32")


def spec(dtype, shape, name=None):
    return TensorSpec(np.dtype(dtype), shape, name)


class Twice(torch.nn.Module):
    def forward(self, x):
        return x * 2


class TwoHeads(torch.nn.Module):
    def forward(self, left, right):
        return {"sum": left + right, "half": (left / 2).bfloat16()}


class Pair(torch.nn.Module):
    def forward(self, x):
        return x, x.sum(dim=1)


def saved_torch(folder, module, signature):
    mlflow.pytorch.save_model(module, folder, signature=signature, pip_requirements=[], serialization_format="pickle")
    return open_model(str(folder), SERVED)


def test_a_torch_module_is_called_with_its_one_input(tmp_path):
    signature = ModelSignature(Schema([spec("float32", (-1, 2))]), Schema([spec("float32", (-1, 2))]))
    model = saved_torch(tmp_path / "m", Twice(), signature)
    assert model.metadata.platform == "mlflow_pytorch"
    assert [(t.name, t.datatype, t.shape) for t in model.metadata.inputs] == [("input", Datatype.FP32, (-1, 2))]
    np.testing.assert_array_equal(model.predict({"input": ROWS})["output"], ROWS * 2)


def test_a_model_that_is_closed_deletes_what_was_fetched_for_it_and_nothing_else(tmp_path):
    kept = saved_torch(tmp_path / "m", Twice(), ModelSignature(Schema([spec("float32", (-1, 2))])))
    kept.close()
    assert (tmp_path / "m").exists()
    fetched = open_model(str(tmp_path / "m"), SERVED, owned=str(tmp_path / "m"))
    fetched.close()
    assert not (tmp_path / "m").exists()


def test_a_torch_module_of_several_inputs_gets_them_by_name(tmp_path):
    signature = ModelSignature(Schema([spec("float32", (-1, 2), "left"), spec("float32", (-1, 2), "right")]))
    answer = saved_torch(tmp_path / "m", TwoHeads(), signature).predict({"right": ROWS, "left": ROWS})
    np.testing.assert_array_equal(answer["sum"], ROWS * 2)
    assert answer["half"].dtype == np.float32


def test_several_outputs_are_named_by_the_signature(tmp_path):
    outputs = Schema([spec("float32", (-1, 2), "rows"), spec("float32", (-1,), "sums")])
    model = saved_torch(tmp_path / "m", Pair(), ModelSignature(Schema([spec("float32", (-1, 2))]), outputs))
    assert list(model.predict({"input": ROWS})) == ["rows", "sums"]


def test_outputs_that_nobody_named_are_numbered(tmp_path):
    model = saved_torch(tmp_path / "m", Pair(), ModelSignature(Schema([spec("float32", (-1, 2))])))
    assert model.metadata.outputs == ()
    assert list(model.predict({"input": ROWS})) == ["output-0", "output-1"]


class Frames(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input: pd.DataFrame, params=None):
        return pd.DataFrame({"label": model_input["word"] + "!", "long": model_input["size"] > 2})


def test_columns_are_inputs_of_one_dimension_each(tmp_path):
    signature = ModelSignature(Schema([ColSpec("string", "word"), ColSpec("long", "size")]))
    mlflow.pyfunc.save_model(tmp_path / "m", python_model=Frames(), signature=signature, pip_requirements=[])
    model = open_model(str(tmp_path / "m"), SERVED)
    assert [(t.name, t.datatype, t.shape) for t in model.metadata.inputs] == [
        ("word", Datatype.BYTES, (-1,)),
        ("size", Datatype.INT64, (-1,)),
    ]
    answer = model.predict({"word": np.array(["a", "bcd"], object), "size": np.array([1, 3])})
    assert answer["label"].tolist() == ["a!", "bcd!"]
    assert answer["long"].tolist() == [False, True]


def test_a_signature_that_the_protocol_cannot_carry_is_refused_with_the_column(tmp_path):
    from mlflow.types.schema import Array, DataType

    signature = ModelSignature(Schema([ColSpec(Array(DataType.long), "tokens")]))
    mlflow.pyfunc.save_model(tmp_path / "m", python_model=Frames(), signature=signature, pip_requirements=[])
    with pytest.raises(ValueError, match=r"column 'tokens' of its signature is .*, which the protocol has no datatype"):
        open_model(str(tmp_path / "m"), SERVED)


def test_a_version_that_cannot_be_fetched_is_named_in_one_line():
    with pytest.raises(ModelDoesNotLoad, match=r"^m version 1 does not load: \w+: [^\n]+$"):
        load_model(SERVED.model_copy(update={"tracking_uri": "nonsense://nowhere"}))
