"""A small Ray with Serve on this machine, and an MLflow store, for tests of real serving."""

import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from platform_app.ports import ModelServing, ServingObservation


@contextmanager
def serving_cluster() -> Iterator[str]:
    """Start an embedded Ray with Serve, and give the URL of its proxy; nothing is left afterwards."""
    os.environ.update(RAY_AUTH_MODE="disabled", RAY_USAGE_STATS_ENABLED="0")
    import ray
    from ray import serve as ray_serve

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # Ray's sockets live in it: the path must be short.
    folder = tempfile.mkdtemp(prefix="sw-", dir="/tmp")
    try:
        ray.init(num_cpus=4, include_dashboard=False, _temp_dir=folder, log_to_driver=False)
        ray_serve.start(http_options={"host": "127.0.0.1", "port": port})
        yield f"http://127.0.0.1:{port}"
    finally:
        ray_serve.shutdown()
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


def mlflow_store(folder: Any) -> str:
    """Make an MLflow store in a folder the current one, and give its URI."""
    import mlflow

    uri = f"sqlite:///{folder}/mlflow.db"
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    mlflow.create_experiment("serving", artifact_location=f"file://{folder}/artifacts")
    mlflow.set_experiment("serving")
    return uri


def add_torch_version(name: str, module: Any, inputs: Any, outputs: Any) -> None:
    """Register the next version of a torch module with its signature, MLflow's tensor specs."""
    import mlflow.pytorch
    from mlflow.models import ModelSignature
    from mlflow.types import Schema

    mlflow.pytorch.log_model(
        module,
        name="model",
        signature=ModelSignature(Schema([inputs]), Schema([outputs])),
        registered_model_name=name,
        pip_requirements=[],
        serialization_format="pickle",
    )


def add_broken_version(name: str) -> None:
    """Register the next version of a model, of which nothing was ever saved."""
    from mlflow import MlflowClient

    MlflowClient().create_model_version(name, "file:///nowhere/model")


def eventually(condition: Callable[[], Any], seconds: float = 120) -> Any:
    """Wait until a condition holds, and give what it gave; fails after a deadline."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.05)
    return result


def settled(serving: ModelServing, deployment: str) -> ServingObservation:
    """Wait until a deployment is ready or has failed, and say which."""

    def observed() -> ServingObservation | None:
        found = serving.observe().get(deployment)
        return found if found is not None and (found.ready or found.failed) else None

    return eventually(observed)


def mlp(seed: int) -> Any:
    """Make a perceptron for images of 64 numbers."""
    import torch

    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10))


def log_models(mlps: dict[int, Any], forest: Any, images: Any) -> None:
    """Register `mlp` (with a last version that does not load), `lookup`, and `forest`, which takes `images`."""
    import mlflow.sklearn
    import numpy as np
    import torch
    from mlflow.models import infer_signature
    from mlflow.types import TensorSpec

    image = TensorSpec(np.dtype("float32"), (-1, 64))
    logits = TensorSpec(np.dtype("float32"), (-1, 10))
    for module in mlps.values():
        add_torch_version("mlp", module, image, logits)
    add_broken_version("mlp")
    rows = TensorSpec(np.dtype("int64"), (-1,))
    add_torch_version("lookup", torch.nn.Embedding(4, 2), rows, TensorSpec(np.dtype("float32"), (-1, 2)))
    mlflow.sklearn.log_model(
        forest,
        name="model",
        signature=infer_signature(images, forest.predict(images)),
        registered_model_name="forest",
        pip_requirements=[],
        serialization_format="cloudpickle",
    )
