"""What a figure was measured on."""

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

_PACKAGES = ("ray", "torch", "mlflow", "slipway")


def described() -> dict[str, Any]:
    """Describe the machine and the versions, for the file of figures."""
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpus": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "versions": {package: version(package) for package in _PACKAGES},
        "load_average_before": os.getloadavg()[0],
    }
