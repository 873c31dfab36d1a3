"""MLServer: a runtime for `mlserver start`."""

from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse
from predictor import predictor


class Model(MLModel):
    async def load(self):
        self._predict = predictor()
        return True

    async def predict(self, payload):
        rows = NumpyCodec.decode_input(payload.inputs[0])
        output = NumpyCodec.encode_output("output", self._predict(rows))
        return InferenceResponse(model_name=self.name, outputs=[output])
