"""BentoML: `bentoml serve bentoml_service:Model --port PORT`; `BATCH` is how many rows share a call."""

import os

import bentoml
import numpy as np
from predictor import predictor

BATCH = int(os.environ["BATCH"])
BATCHING = {"batchable": True, "max_batch_size": BATCH, "max_latency_ms": 1000} if BATCH else {}


@bentoml.service(workers=1)
class Model:
    def __init__(self):
        self._predict = predictor()

    @bentoml.api(route="/predict", **BATCHING)
    def predict(self, rows: np.ndarray) -> np.ndarray:
        return self._predict(rows.astype(np.float32))
