"""What most tests of the control plane need."""

from pathlib import Path

import pytest
from hypothesis import settings

from platform_app.adapters.database import migrate
from tests.control_plane import ControlPlane

# How fast a machine is, is nothing that a property holds of.
settings.register_profile("slipway", deadline=None)
settings.load_profile("slipway")


@pytest.fixture(scope="session")
def migrated(tmp_path_factory) -> Path:
    """Give the file of an empty database at the newest revision; migrating once is enough."""
    path = tmp_path_factory.mktemp("database") / "empty.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
def plane(tmp_path, migrated):
    """Give a control plane."""
    plane = ControlPlane(tmp_path, migrated)
    yield plane
    plane.database.close()
