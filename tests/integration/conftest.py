"""What the tests on real Ray share."""

import pytest

from tests.plain_ray import Nodes, PlainRay, opened
from tests.running import running_platform


@pytest.fixture(scope="session")
def running():
    """Give a platform, started once for all tests that need one."""
    with running_platform() as platform:
        yield platform


@pytest.fixture(scope="module")
def ray_node():
    """Give a Ray cluster of one node that no platform knows of."""
    with opened(PlainRay) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def nodes():
    """Give a Ray cluster that no platform knows of, with three nodes of one GPU each."""
    with opened(Nodes, "a", "b", "c") as cluster:
        yield cluster
