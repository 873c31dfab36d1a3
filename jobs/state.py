"""What a training run is made of at a moment, and its way into a checkpoint and back."""

from pathlib import Path
from typing import Any

import torch
from ray.train import Checkpoint
from torch import Tensor

from jobs.workload import Workload

_FILE = "state.pt"


class TrainingState:
    """Model, optimizer, schedule, loss scale and step: all that a run needs to go on as if it had never stopped."""

    def __init__(self, workload: Workload, amp_dtype: torch.dtype | None, device: torch.device) -> None:
        self.step = 0
        """Optimizer steps done."""
        self.amp_dtype = amp_dtype
        """Arithmetic of the forward pass; None is plain fp32."""
        self._workload = workload
        self._device = device
        # Scaling the loss is for fp16 alone: bf16 has the exponents of fp32.
        self._scaler = torch.amp.GradScaler(device.type, enabled=amp_dtype is torch.float16)
        workload.model.to(device)

    def take_step(self, loss: Tensor) -> None:
        """Update the model by the gradient of a loss."""
        self._workload.optimizer.zero_grad(set_to_none=True)
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]  # torch's own
        self._scaler.step(self._workload.optimizer)
        self._scaler.update()
        self.step += 1

    def end_epoch(self) -> None:
        """Move the learning rate's schedule on."""
        if self._workload.lr_scheduler:
            self._workload.lr_scheduler.step()

    def save(self, folder: Path) -> None:
        """Write a checkpoint into an empty folder."""
        parts = {name: part.state_dict() for name, part in self._parts().items()}
        torch.save({"step": self.step, **parts}, folder / _FILE)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go back to where a checkpoint was written."""
        saved = _read(checkpoint, self._device)
        self.step = saved["step"]
        for name, part in self._parts().items():
            part.load_state_dict(saved[name])

    def _parts(self) -> dict[str, Any]:
        parts = {"model": self._workload.model, "optimizer": self._workload.optimizer, "scaler": self._scaler}
        return parts | ({"lr_scheduler": self._workload.lr_scheduler} if self._workload.lr_scheduler else {})


def load_model_weights(checkpoint: Checkpoint, workload: Workload) -> None:
    """Give a workload's model the weights of a checkpoint, on the CPU."""
    workload.model.cpu().load_state_dict(_read(checkpoint, torch.device("cpu"))["model"])


def _read(checkpoint: Checkpoint, device: torch.device) -> dict[str, Any]:
    with checkpoint.as_directory() as folder:
        # Tensors and plain values only: reading a checkpoint runs no code that is in it.
        saved: dict[str, Any] = torch.load(Path(folder) / _FILE, map_location=device, weights_only=True)
        return saved
