"""KServe's Python server: `python kserve_server.py --http_port PORT`."""

from kserve import InferOutput, InferResponse, Model, ModelServer
from kserve.utils.numpy_codec import from_np_dtype
from predictor import predictor


class Digits(Model):
    def __init__(self):
        super().__init__("model")
        self.load()

    def load(self):
        self._predict = predictor()
        self.ready = True
        return True

    def predict(self, payload, headers=None, response_headers=None):
        given = self._predict(payload.inputs[0].as_numpy())
        output = InferOutput("output", list(given.shape), from_np_dtype(given.dtype))
        output.set_data_from_numpy(given, binary_data=False)
        return InferResponse(response_id="", model_name="model", infer_outputs=[output])


if __name__ == "__main__":
    ModelServer(workers=1, enable_grpc=False).start([Digits()])
