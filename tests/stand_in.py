"""A control plane that is only ready: for tests of the cluster below it."""

import sys

_READY = """
import http.server, os, sys

class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

if os.fork() == 0:
    os.setsid()
    http.server.HTTPServer(("127.0.0.1", int(os.environ["SLIPWAY_HTTP_PORT"])), Ready).serve_forever()
"""

CONTROL_PLANE = (sys.executable, "-c", _READY)
"""The command that starts it and ends."""
