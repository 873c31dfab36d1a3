"""Free ports: the usual ones where they are free, the next ones where they are not, never the same for two clusters."""

import errno
import socket
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

from platform_app.errors import PermanentError
from platform_app.local.state import HOST, Ports

_TRIES = 200


@contextmanager
def reserved_ports(api: int | None = None) -> Iterator[Ports]:
    """Choose ports and hold them against other `slipway up`s until the block ends; servers can bind them meanwhile.

    Args:
        api: the port that the API must have; None for the usual one or the next free one.

    Raises:
        PermanentError: `api` is taken, or too many ports are.
    """
    wanted = Ports()
    with ExitStack() as held:
        chosen: dict[str, int] = {}
        for name in Ports.model_fields:
            preferred = getattr(wanted, name)
            exact = name == "api" and api is not None
            candidates: Iterable[int] = (api,) if exact and api else range(preferred, preferred + _TRIES)
            claim = next((claim for port in candidates if (claim := _claim(port))), None)
            if claim is None:
                where = f"port {api}" if exact else f"every port from {preferred} to {preferred + _TRIES - 1}"
                advice = "leave --http-port out to get a free one" if exact else "stop something that listens there"
                raise PermanentError(f"{where} is taken on {HOST}: {advice}.")
            held.enter_context(claim)
            chosen[name] = claim.getsockname()[1]
        yield Ports(**chosen)


def accepts(port: int) -> bool:
    """Say whether something on this machine accepts connections on a port."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((HOST, port)) == 0


def refuses(port: int) -> bool:
    """Say whether nothing on this machine listens on a port. What is slow or stopped does not refuse."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((HOST, port)) == errno.ECONNREFUSED


def _claim(port: int) -> socket.socket | None:
    # A UDP socket of the same number marks the port for other `slipway up`s, is in no TCP server's way, and goes with
    # this process however that ends.
    mark = socket.socket(type=socket.SOCK_DGRAM)
    try:
        mark.bind((HOST, port))
        with socket.socket() as server:
            # As servers do: a port whose connections were just closed is free.
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind((HOST, port))
            server.listen()
    except OSError:
        mark.close()
        return None
    return mark
