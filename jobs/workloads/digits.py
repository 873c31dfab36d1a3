"""Handwritten digits: 1,797 real images of 8 × 8 pixels, which come with scikit-learn; a small multilayer perceptron.

E. Alpaydin and C. Kaynak, *Optical Recognition of Handwritten Digits*, UCI Machine Learning Repository, 1998.
"""

from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional
from torch.utils.data import TensorDataset

from jobs.workload import Batch, Workload

_TEST_PART = 5
"""Every so many images of each digit, one is for testing."""


def make(config: dict[str, Any]) -> Workload:
    """Build the workload.

    Args:
        config: `lr` (0.003), `hidden` units per layer (128), `layers` (2), `dropout` probability (0.1),
            `weight_decay` (0.0001) and `optimizer`, `adamw` or `sgd` (`adamw`).
    """
    model = _classifier(int(config.get("hidden", 128)), int(config.get("layers", 2)), float(config.get("dropout", 0.1)))
    images, digits, is_test = _data()
    optimizers = {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
    return Workload(
        model=model,
        train_dataset=_dataset(images[~is_test], digits[~is_test]),
        eval_dataset=_dataset(images[is_test], digits[is_test]),
        optimizer=optimizers[config.get("optimizer", "adamw")](
            model.parameters(), lr=float(config.get("lr", 0.003)), weight_decay=float(config.get("weight_decay", 1e-4))
        ),
        loss=lambda model, batch: functional.cross_entropy(model(batch[0]), batch[1]),
        evaluate=lambda model, batch: {"accuracy": _accuracy(model, batch)},
        example_input=torch.from_numpy(images[is_test][:2]),
    )


def test_set() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Give the images that no training sees, (samples, 64) in 0 … 1, and the digits that they show, (samples,)."""
    images, digits, is_test = _data()
    return images[is_test], digits[is_test]


def _data() -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.bool_]]:
    """Give all images, all digits, and which are for testing: the same fixed part of each digit."""
    images, digits = load_digits(return_X_y=True)
    is_test = np.zeros(len(digits), dtype=bool)
    for digit in range(10):
        of_this_digit = np.random.default_rng(digit).permutation(np.flatnonzero(digits == digit))
        is_test[of_this_digit[::_TEST_PART]] = True
    return (images / 16).astype(np.float32), digits.astype(np.int64), is_test


def _classifier(hidden: int, layers: int, dropout: float) -> nn.Module:
    sizes = [64] + [hidden] * layers
    blocks = [
        part
        for size, following in pairwise(sizes)
        for part in (nn.Linear(size, following), nn.ReLU(), nn.Dropout(dropout))
    ]
    return nn.Sequential(*blocks, nn.Linear(sizes[-1], 10))


def _dataset(images: NDArray[np.float32], digits: NDArray[np.int64]) -> TensorDataset:
    return TensorDataset(torch.from_numpy(images), torch.from_numpy(digits))


def _accuracy(model: nn.Module, batch: Batch) -> torch.Tensor:
    return (model(batch[0]).argmax(dim=1) == batch[1]).double().mean()
