"""Model versions for the drills: a classifier of digits, and versions of it that go wrong in one way each."""

from typing import Any

import numpy as np

from jobs.workloads import digits
from tests.running import Running

BASE_SECONDS = 0.004
"""What a prediction takes in each version but the slow one."""


def add_version(running: Running, name: str, **faults: Any) -> int:
    """Register the next version of a model and give its number.

    Args:
        running: the platform in whose MLflow it is registered.
        name: the registered model.
        faults: what `classifier` takes.
    """
    import mlflow
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    uri = running.state.tracking_uri
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    mlflow.set_experiment("drills")
    module = classifier(**faults)
    images = Schema([TensorSpec(np.dtype("float32"), (-1, 64))])
    logits = Schema([TensorSpec(np.dtype("float32"), (-1, module.out_features))])
    mlflow.pytorch.log_model(
        module,
        name="model",
        signature=ModelSignature(images, logits),
        registered_model_name=name,
        pip_requirements=[],
        serialization_format="pickle",
    )
    versions = mlflow.MlflowClient(uri).search_model_versions(f"name = '{name}'")
    return max(int(one.version) for one in versions)


def classifier(
    width: int = 10,
    times_slower: float = 1,
    dies: bool = False,
    raises: float = 0,
    noise: float = 0,
    favours: float = 0,
) -> Any:
    """Give a linear classifier, fitted to the digits, that may go wrong.

    Args:
        width: classes that it gives; the digits have 10.
        times_slower: how much longer a prediction takes.
        dies: whether its process ends at the first image that is not black.
        raises: the share of images, by their content, at which it raises.
        noise: standard deviation of what is added to its weights.
        favours: what is added to the score of class 0.
    """
    import torch
    from sklearn.linear_model import LogisticRegression

    images, shown = digits.make({}).train_dataset.tensors
    fitted = LogisticRegression(max_iter=200).fit(images.numpy(), shown.numpy())

    class Drilled(torch.nn.Linear):
        def forward(self, images):
            import os
            import time

            time.sleep(BASE_SECONDS * times_slower)
            brightness = float(images.sum())
            if dies and brightness > 0:
                os._exit(1)
            if raises and brightness > 0 and round(brightness * 16) % 100 < 100 * raises:
                raise ValueError("not this image")
            return super().forward(images)

    module = Drilled(64, width)
    random = np.random.default_rng(0)
    with torch.no_grad():
        weights = fitted.coef_ + random.normal(0, noise, fitted.coef_.shape) if noise else fitted.coef_
        module.weight.copy_(torch.from_numpy(weights[:width]))
        module.bias.copy_(torch.from_numpy(fitted.intercept_[:width]))
        module.bias[0] += favours
    return module


def requests() -> list[dict[str, Any]]:
    """Give a request of the Open Inference Protocol for each image of the test set."""
    images, _ = digits.test_set()
    return [
        {"inputs": [{"name": "input", "shape": [1, 64], "datatype": "FP32", "data": image.tolist()}]}
        for image in images
    ]
