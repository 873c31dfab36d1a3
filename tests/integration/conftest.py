"""What the tests on real Ray share."""

import pytest

from tests.running import running_platform


@pytest.fixture(scope="session")
def running():
    """Give a platform, started once for all tests that need one."""
    with running_platform() as platform:
        yield platform
