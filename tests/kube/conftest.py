"""What the tests of the stand-in share."""

import pytest
from kubernetes import client, config

from tests.kube.objects import namespace
from tests.kube.standin import kube_api


@pytest.fixture
def kube():
    """Give a cluster without nodes, with one namespace `team-a`."""
    with kube_api() as kube:
        kube.apply(namespace("team-a"))
        yield kube


@pytest.fixture
def connect():
    """Give a way from a kubeconfig to a client that is closed with the test."""
    opened = []

    def connect(kubeconfig) -> client.ApiClient:
        opened.append(config.new_client_from_config(str(kubeconfig)))
        return opened[-1]

    yield connect
    for api in opened:
        api.close()


@pytest.fixture
def pods(kube, connect):
    """Give the official client for pods and what else is in the core group."""
    return client.CoreV1Api(connect(kube.kubeconfig))


@pytest.fixture
def customs(kube, connect):
    """Give the official client for custom objects."""
    return client.CustomObjectsApi(connect(kube.kubeconfig))
