"""The notebook's and the command line's door: a typed, synchronous client of the HTTP API.

from platform_app.client import Platform

platform = Platform()                       # SLIPWAY_URL and SLIPWAY_TOKEN, else the platform on this machine
job = platform.submit("jobs/examples/ddp.yaml")
job = platform.wait(job.id)
"""

from platform_app.client.connection import ApiError
from platform_app.client.platform import Platform

__all__ = ["ApiError", "Platform"]
