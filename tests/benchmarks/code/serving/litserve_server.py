"""LitServe: `python litserve_server.py PORT`; `BATCH` is how many requests share a call."""

import os
import sys

import litserve
import numpy as np
from predictor import predictor

BATCH = int(os.environ["BATCH"])


class Model(litserve.LitAPI):
    def setup(self, device):
        self._predict = predictor()

    def decode_request(self, request):
        return np.array(request["rows"], dtype=np.float32)

    def batch(self, inputs):
        self._ends = np.cumsum([len(rows) for rows in inputs])[:-1]
        return np.concatenate(inputs)

    def predict(self, rows):
        return self._predict(rows)

    def unbatch(self, output):
        return np.split(output, self._ends)

    def encode_response(self, output):
        return {"predictions": output.tolist()}


if __name__ == "__main__":
    batching = {"max_batch_size": BATCH, "batch_timeout": 0.005} if BATCH > 1 else {}
    server = litserve.LitServer(Model(**batching), accelerator="cpu", workers_per_device=1, fast_queue=True)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), num_api_servers=1, generate_client_file=False)
