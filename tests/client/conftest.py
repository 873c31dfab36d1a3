"""A control plane behind real HTTP: uvicorn on a free port, in a thread."""

import socket
import threading
import time

import pytest
import uvicorn

from platform_app.api.app import create_app
from platform_app.client import Platform
from tests.control_plane import TOKEN


@pytest.fixture
def url(plane):
    """Serve the control plane and give its URL."""
    app = create_app(plane.services)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join()


@pytest.fixture
def platform(url):
    return Platform(url, TOKEN)
