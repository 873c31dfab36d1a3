"""Models that are a few lines long, and one replica that serves one without Ray."""

import hashlib
import threading
import time

from platform_app.specs import DeploymentSpec, ServedModel
from serve.app import ModelServer
from serve.protocol import Datatype, ModelMetadata, TensorMetadata

TOKEN = "secret-of-a-team"
SERVED = ServedModel(
    deployment="digits",
    spec=DeploymentSpec(model="mlp"),
    version=3,
    tracking_uri="sqlite://",
    token_digests=(hashlib.sha256(TOKEN.encode()).hexdigest(),),
)
ROWS = {"name": "x", "shape": [2, 2], "datatype": "FP32", "data": [1, 2, 3, 4]}


class SumModel:
    """Adds up each row; raises on a negative number."""

    closed = False
    example = None
    metadata = ModelMetadata(
        name="digits",
        versions=("3",),
        platform="test_sum",
        inputs=(TensorMetadata(name="x", datatype=Datatype.FP32, shape=(-1, 2)),),
        outputs=(TensorMetadata(name="sum", datatype=Datatype.FP32, shape=(-1,)),),
    )

    def predict(self, inputs):
        if (inputs["x"] < 0).any():
            raise ValueError("negative numbers are not for me")
        return {"sum": inputs["x"].sum(axis=1)}

    def close(self):
        self.closed = True


class HeldModel(SumModel):
    """Takes as long as a test wants; never so little that it would be called on the event loop."""

    def __init__(self):
        self.lets_go = threading.Event()
        self.lets_go.set()
        self.is_asked = threading.Event()
        self.calls = 0

    def predict(self, inputs):
        self.is_asked.set()
        time.sleep(0.002)
        assert self.lets_go.wait(30)
        self.calls += 1
        return super().predict(inputs)


def serving(model, token=TOKEN, clock=time.perf_counter, **spec):
    """Give one replica that serves a model to those who have the token."""
    served = SERVED.model_copy(update={"spec": SERVED.spec.model_copy(update=spec)})
    server = ModelServer(served, load=lambda _: model, clock=clock)
    digest = hashlib.sha256(token.encode()).hexdigest()
    server.reconfigure({"token_digests": [digest], "revision": 4, "split": None})
    return server
