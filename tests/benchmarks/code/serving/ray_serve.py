"""Bare Ray Serve, as its documentation has it: `python ray_serve.py PORT`; `BATCH` is how many rows share a call."""

import os
import socket
import sys
import time

import numpy as np
import ray
from predictor import predictor

FOLDER = os.environ["FOLDER"]
BATCH = int(os.environ["BATCH"])
PLACES = {"CONFIG_FILE_LOC": "cfg", "SOCKET_PATH": "a", "METRICS_SOCKET_PATH": "m", "SERVER_STATE_FILE": "state"}


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


# Another Ray Serve on this machine may have those that it takes by default.
os.environ |= {f"RAY_SERVE_HAPROXY_{name}": f"{FOLDER}/{file}" for name, file in PLACES.items()}
os.environ |= {"RAY_SERVE_HAPROXY_SERVER_STATE_BASE": FOLDER, "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": _free_port()}
os.environ |= {f"RAY_SERVE_HAPROXY_{name}_PORT": _free_port() for name in ("STATS", "METRICS")}

from ray import serve  # noqa: E402  it reads them as it is imported


@serve.deployment(max_ongoing_requests=100)
class Model:
    def __init__(self):
        self._predict = predictor()

    async def __call__(self, request):
        rows = np.array((await request.json())["rows"], dtype=np.float32)
        return {"predictions": (await self._ask(rows)).tolist()}

    if BATCH:

        @serve.batch(max_batch_size=BATCH, batch_wait_timeout_s=0.005, max_concurrent_batches=1)
        async def _ask(self, requests):
            given = self._predict(np.concatenate(requests))
            return np.split(given, np.cumsum([len(rows) for rows in requests])[:-1])

    else:

        async def _ask(self, rows):
            return self._predict(rows)


ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, _temp_dir=FOLDER)
serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
serve.run(Model.bind(), route_prefix="/predict")
while True:
    time.sleep(60)
