"""An examination before traffic: two versions of a model predict the same labelled rows, in a task on a worker.

The dataset is a function without arguments that gives the inputs (an array, or arrays by input name) and the labels.
It, and a metric of one's own, may come from what is installed on workers, or from the code that travels with the model.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from platform_app.specs import Evaluation, ServedModel
from serve.graph import load_served
from serve.model import attribute
from serve.protocol import Array

DATASETS = {"digits-test": "jobs.workloads.digits:test_set"}
"""Datasets that have a name; any other is named by `module:attr`."""


def accuracy(labels: Array, outputs: Array) -> float:
    """Give the share of rows whose label is predicted; of a vector for each row, its largest element's position is."""
    predicted = outputs.argmax(axis=-1) if outputs.ndim > labels.ndim else outputs
    return float(np.mean(predicted == labels))


def mse(labels: Array, outputs: Array) -> float:
    """Give the mean squared error."""
    return float(np.mean((outputs.reshape(labels.shape) - labels) ** 2))


METRICS: dict[str, Callable[[Array, Array], float]] = {"accuracy": accuracy, "mse": mse}


def evaluate(candidate: ServedModel, champion_version: int, evaluation: Evaluation) -> tuple[float, float]:
    """Score the candidate and the champion. Raises whatever is wrong with dataset, metric or model.

    Returns:
        The candidate's score, and the champion's.
    """
    versions = (candidate.version, champion_version)
    first, second = (_score(candidate.model_copy(update={"version": version}), evaluation) for version in versions)
    return first, second


def _score(served: ServedModel, evaluation: Evaluation) -> float:
    model = load_served(served)
    try:
        inputs, labels = _imported(DATASETS.get(evaluation.dataset, evaluation.dataset))()
        expected = [tensor.name for tensor in model.metadata.inputs] or ["input"]
        named = inputs if isinstance(inputs, Mapping) else {expected[0]: inputs}
        outputs = model.predict(named)
        metric = METRICS.get(evaluation.metric) or _imported(evaluation.metric)
        return float(metric(labels, next(iter(outputs.values()))))
    finally:
        model.close()


def _imported(name: str) -> Any:
    if ":" not in name:
        raise ValueError(f"no dataset {name!r}; there are {', '.join(DATASETS)}, or name a function as module:attr")
    return attribute(name)
