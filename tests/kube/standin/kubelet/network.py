"""One machine as many: every pod's ports get ports of their own here.

Each container believes that it has a network to itself. Ports that pods declare, and those that Ray uses, are mapped
to free ports of this machine; environment variables that name a declared port, and the names of services in
them, are rewritten.
"""

import functools
import random
import re
import socket
from collections.abc import Mapping
from typing import Any

_RANGE = range(20_000, 30_000)
"""Below the ports that the system gives to outgoing connections."""

RAY_PORTS = {"gcs": 6379, "dashboard": 8265, "client": 10001, "metrics": 8080, "agent": 52365, "serve": 8000}
"""Where Ray listens inside a pod."""

Object = dict[str, Any]


class Network:
    """Knows which port of this machine is which port of which pod."""

    def __init__(self) -> None:
        self._mapped: dict[tuple[str, int], int] = {}
        self._used: set[int] = set()

    def port(self, pod: Object, port: int) -> int:
        """Give this machine's port for a pod's; the same at every call."""
        metadata, labels = pod["metadata"], pod["metadata"].get("labels") or {}
        owner = f"{metadata['namespace']}/{metadata['name']}/{metadata['uid']}"
        if port == RAY_PORTS["serve"] and "ray.io/cluster" in labels:
            # All of a cluster's proxies share one port, as Serve's own tests do on one machine.
            owner = f"{metadata['namespace']}/{labels['ray.io/cluster']}"
        if (owner, port) not in self._mapped:
            self._mapped[owner, port] = self._free()
        return self._mapped[owner, port]

    def address(self, pod: Object, port: int) -> str:
        """Give `host:port` of this machine for a pod's port."""
        return f"{own_address()}:{self.port(pod, port)}"

    def rewrite_port(self, pod: Object, container: Object, name: str, value: str) -> str:
        """Rewrite a variable `…_PORT` whose value is a port that its container declares."""
        declared = {str(one["containerPort"]) for one in container.get("ports") or ()}
        return str(self.port(pod, int(value))) if name.endswith("_PORT") and value in declared else value

    def rewrite_loopback(self, pod: Object, text: str) -> str:
        """Rewrite `127.0.0.1:port`, where one of the pod's containers declares that port: it is the pod itself."""
        for container in pod["spec"]["containers"]:
            for one in container.get("ports") or ():
                port = one["containerPort"]
                text = re.sub(rf"(?<![\w.-])(127\.0\.0\.1|localhost):{port}\b", self.address(pod, port), text)
        return text

    def rewrite_services(self, text: str, services: Mapping[str, str]) -> str:
        """Rewrite `service.namespace[.svc[.cluster.local]]:port` where `services` says what it is here."""
        for name, address in services.items():
            host, _, port = name.partition(":")
            text = re.sub(rf"(?<![\w.-]){re.escape(host)}(\.svc(\.cluster\.local)?)?:{port}\b", address, text)
        return text

    def _free(self) -> int:
        while True:
            port = random.choice(_RANGE)
            if port not in self._used and is_free(port):
                self._used.add(port)
                return port


@functools.cache
def own_address() -> str:
    """Give this machine's address as Ray finds it: every pod's, for Ray's drivers look for their node by it."""
    import ray.util  # here, for a cluster without nodes does without

    return str(ray.util.get_node_ip_address())


def is_free(port: int) -> bool:
    """Say whether a server could listen on a port of this machine."""
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind((own_address(), port))
        except OSError:
            return False
    return True


def accepts(port: int) -> bool:
    """Say whether something listens on a port of this machine."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((own_address(), port)) == 0
