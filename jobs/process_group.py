"""Which library carries the gradients: decided on the workers, which alone know what hardware they have."""

from dataclasses import replace
from typing import Any

import torch
from ray.train.torch import TorchConfig

_TorchBackend: Any = TorchConfig(backend="gloo").backend_cls


class HardwareTorchConfig(TorchConfig):
    """NCCL where every worker has a whole CUDA GPU of its own, else gloo.

    Ray's own choice is made on the driver's node, which has no GPU, and is NCCL wherever GPUs are asked for: that
    fails on simulated GPUs, and for two workers that share one.
    """

    @property
    def backend_cls(self) -> Any:
        """The class that sets up torch's process group."""
        return _HardwareBackend


class _HardwareBackend(_TorchBackend):
    def on_start(self, worker_group: Any, backend_config: TorchConfig) -> None:
        whole_gpus = worker_group.get_resources_per_worker().get("GPU", 0) >= 1
        nccl = whole_gpus and all(worker_group.execute(torch.cuda.is_available))
        super().on_start(worker_group, replace(backend_config, backend="nccl" if nccl else "gloo"))
