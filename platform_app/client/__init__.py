"""The notebook's and the command line's door: a typed, synchronous client of the HTTP API.

from platform_app.client import Platform

platform = Platform()                       # SLIPWAY_URL and SLIPWAY_TOKEN, else the platform on this machine
job = platform.submit("jobs/examples/ddp.yaml")
job = platform.wait(job.id)                 # with a live bar, in a terminal and in a notebook
platform.trials(job.id).to_pandas()

A function of the notebook may be the `workload` of a spec: it goes along by value. `run_config(name)` is for plain Ray
Tune code inside the cluster.
"""

from platform_app.client.connection import ApiError
from platform_app.client.platform import Platform
from platform_app.client.tune import run_config

__all__ = ["ApiError", "Platform", "run_config"]
