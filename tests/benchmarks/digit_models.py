"""The models of the serving benchmark: light ones, so that what is measured is the servers."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import mlflow.pytorch
import mlflow.sklearn
import numpy as np
import torch
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec
from sklearn.linear_model import LogisticRegression

from jobs.workloads import digits

MODELS = ("sklearn", "mlp")
"""A scikit-learn classifier that gives classes, and a perceptron of torch that gives scores of each class."""


@dataclass(frozen=True)
class DigitModel:
    """One model with the files that it is served from."""

    name: str
    folder: Path
    """Has `model.joblib` or `model.pt` for the peers, and MLflow's own form in `mlflow`."""
    model: Any
    signature: ModelSignature

    def expected(self, rows: np.ndarray) -> np.ndarray:
        """Give what it predicts for rows (n, 64)."""
        if self.name == "sklearn":
            return self.model.predict(rows)
        with torch.inference_mode():
            return self.model(torch.from_numpy(rows)).numpy()

    def register(self, tracking_uri: str) -> None:
        """Register it in an MLflow under its name."""
        mlflow.set_tracking_uri(tracking_uri)
        mlflow.set_registry_uri(tracking_uri)
        mlflow.set_experiment("benchmarks")
        log = mlflow.sklearn.log_model if self.name == "sklearn" else mlflow.pytorch.log_model
        log(self.model, name="model", registered_model_name=self.name, **_form(self.name, self.signature))


def _form(name: str, signature: ModelSignature) -> dict[str, Any]:
    kept = "cloudpickle" if name == "sklearn" else "pickle"
    return {"signature": signature, "pip_requirements": [], "serialization_format": kept}


def make_model(name: str, folder: Path) -> DigitModel:
    """Train a model on the digits, and save it in every form."""
    folder = folder / name
    folder.mkdir(parents=True)
    images, shown = (tensor.numpy() for tensor in digits.make({}).train_dataset.tensors)
    images_spec = Schema([TensorSpec(np.dtype("float32"), (-1, 64))])
    if name == "sklearn":
        model = LogisticRegression(max_iter=200).fit(images, shown)
        signature = ModelSignature(images_spec, Schema([TensorSpec(np.dtype("int64"), (-1,))]))
        joblib.dump(model, folder / "model.joblib")
        mlflow.sklearn.save_model(model, folder / "mlflow", **_form(name, signature))
    else:
        torch.manual_seed(0)
        model = digits.make({}).model.eval()
        signature = ModelSignature(images_spec, Schema([TensorSpec(np.dtype("float32"), (-1, 10))]))
        torch.save(model, folder / "model.pt")
        mlflow.pytorch.save_model(model, folder / "mlflow", **_form(name, signature))
    return DigitModel(name, folder, model, signature)


def rows_of(count: int) -> np.ndarray:
    """Give so many digits that no model was trained on, as rows of 64 numbers."""
    images, _ = digits.test_set()
    return np.ascontiguousarray(np.asarray(images[:count], dtype=np.float32))
