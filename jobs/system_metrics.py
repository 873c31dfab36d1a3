"""The load of the first worker's machine, under the names of MLflow's own system metrics."""

import time
from collections.abc import Callable, Mapping

import psutil
import torch

INTERVAL_SECONDS = 10.0


class SystemMetrics:
    """Samples the machine's load; the step of a sample is the seconds since the beginning."""

    def __init__(self, log: Callable[[Mapping[str, float], int], None]) -> None:
        self._log = log
        self._began = time.monotonic()
        psutil.cpu_percent()  # the first reading has nothing to compare with

    def sample(self) -> None:
        """Take a sample and log it."""
        self._log(system_metrics(), int(time.monotonic() - self._began))


def system_metrics() -> dict[str, float]:
    """Read this machine's load: percent, and megabytes of 10^6 bytes."""
    memory = psutil.virtual_memory()
    metrics = {
        "system/cpu_utilization_percentage": psutil.cpu_percent(),
        "system/system_memory_usage_megabytes": memory.used / 1e6,
        "system/system_memory_usage_percentage": memory.percent,
    }
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        free, total = torch.cuda.mem_get_info(index)
        metrics[f"system/gpu_{index}_memory_usage_megabytes"] = (total - free) / 1e6
        metrics[f"system/gpu_{index}_memory_usage_percentage"] = 100 * (total - free) / total
    return metrics
