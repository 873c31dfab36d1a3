"""Which ports a cluster gets."""

import socket

import pytest

from platform_app.errors import PermanentError
from platform_app.local.network import accepts, reserved_ports


def listener(port=0):
    server = socket.socket()
    # As servers do: connections that ended a moment ago do not hold the port.
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("127.0.0.1", port))
    server.listen()
    return server


def test_all_ports_of_a_cluster_differ():
    with reserved_ports() as ports:
        assert len(set(ports.model_dump().values())) == len(ports.model_dump())


def test_two_clusters_that_start_at_one_time_share_no_port():
    with reserved_ports() as one, reserved_ports() as other:
        assert set(one.model_dump().values()).isdisjoint(other.model_dump().values())


def test_a_port_that_something_listens_on_is_passed_over():
    with reserved_ports() as before:
        pass
    with listener(before.api), reserved_ports() as ports:
        assert ports.api > before.api


def test_a_reserved_port_can_be_listened_on():
    with reserved_ports() as ports, listener(ports.api):
        assert accepts(ports.api)


def test_a_port_is_free_again_after_a_failed_start():
    with pytest.raises(ZeroDivisionError), reserved_ports() as ports:
        raise ZeroDivisionError
    with reserved_ports(ports.api) as again:
        assert again.api == ports.api


def test_a_demanded_port_that_is_taken_is_refused_by_name():
    with listener() as server:
        port = server.getsockname()[1]
        with pytest.raises(PermanentError, match=f"port {port} is taken.*--http-port"), reserved_ports(port):
            pass


def test_nothing_accepts_on_a_closed_port():
    with listener() as server:
        port = server.getsockname()[1]
        assert accepts(port)
    assert not accepts(port)
