"""What a training run is made of at a moment, and its way into a checkpoint and back."""

import copy
import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor

from jobs.failure import JobFailed, describe
from jobs.sharding import Sharded, placed, saved_shard, side_by_side
from jobs.workload import Workload
from platform_app.specs import FailureCause

STATE_FILE = "state.pt"
"""The file of a checkpoint that holds what `TrainingState.snapshot` gave."""

SHARD_FILE = "shard-{rank:05d}.pt"
"""The files of one that holds what it gave on every worker."""


class TrainingState:
    """All that a run needs to go on as if it had never stopped.

    Model, optimizer, schedule, loss scale, and where it is in which epoch. There is no state of random generators:
    they start anew at every step, from seed, epoch, position and rank.
    """

    def __init__(
        self,
        workload: Workload,
        amp_dtype: torch.dtype | None,
        device: torch.device,
        mesh: DeviceMesh | None = None,
    ) -> None:
        self.step = 0
        """Optimizer steps done."""
        self.epoch = 0
        """Epochs done, with their evaluation."""
        self.position = 0
        """Steps done of the epoch that is under way; all of them, while it is evaluated."""
        self.loss_sums: list[float] = []
        """Each worker's sum of losses over its samples of this epoch, when the state was last saved."""
        self.amp_dtype = amp_dtype
        """Arithmetic of the forward pass; None is plain fp32."""
        self._device = device
        self._mesh = mesh
        self._workload = workload
        # Scaling the loss is for fp16 alone: bf16 has the exponents of fp32.
        self._scaler = torch.amp.GradScaler(device.type, enabled=amp_dtype is torch.float16)
        workload.model.to(device)

    @property
    def is_sharded(self) -> bool:
        """Whether each worker has a part of it, and has to save it; otherwise all have the same."""
        return self._mesh is not None

    def add_gradient(self, loss: Tensor) -> None:
        """Add the gradient of a loss to those of this step."""
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]  # torch's own

    def take_step(self) -> None:
        """Update the model by the gradients that were added up."""
        self._scaler.step(self._workload.optimizer)
        self._scaler.update()
        self._workload.optimizer.zero_grad(set_to_none=True)
        self._schedule("step")
        self.step += 1
        self.position += 1

    def end_epoch(self) -> None:
        """Move on to the next epoch, and a learning rate's schedule that counts epochs with it."""
        self._schedule("epoch")
        self.epoch += 1
        self.position = 0
        self.loss_sums = []

    def snapshot(self) -> dict[str, Any]:
        """Copy the state to host memory, as tensors and plain values; of what is sharded, this worker's shards."""
        counters = {name: getattr(self, name) for name in ("step", "epoch", "position", "loss_sums")}
        copied = {name: _copied(part.state_dict()) for name, part in self._parts().items()}
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)  # the copies are under way, one after another
        return counters | copied

    def require_savable(self) -> None:
        """Find out before training whether checkpoints can be written and read.

        Raises:
            JobFailed: some part of the state is neither a tensor nor a plain value.
        """
        for name, part in self._parts().items():
            buffer = io.BytesIO()
            try:
                torch.save(_copied(part.state_dict(), values=False), buffer)
                buffer.seek(0)
                torch.load(buffer, weights_only=True)
            except Exception as error:  # pickling runs a user's classes, which may raise anything
                reason = describe(error) if not isinstance(error, pickle.UnpicklingError) else "not a plain value"
                message = f"the state of the workload's {name} cannot be saved in a checkpoint: {reason}"
                hint = "its state_dict() may hold tensors, numbers, strings, and lists and dicts of them"
                raise JobFailed(FailureCause.USER_CODE_FAILED, f"{message}; {hint}") from error

    def restore(self, saved: Mapping[str, Any], source: str) -> None:
        """Go back to where a snapshot was taken.

        Args:
            saved: what `read_state` gave.
            source: the checkpoint's name, for the message.

        Raises:
            JobFailed: it is one of another model.
        """
        if self.is_sharded and not any(isinstance(part, Sharded) for part in saved["model"].values()):
            message = f"checkpoint {source} is of a whole model, which parallel=fsdp does not go on from"
            raise JobFailed(FailureCause.USER_CODE_FAILED, f"{message}; take ddp, or give the job a new id")
        try:
            for name, part in self._parts().items():
                part.load_state_dict(placed(saved[name], self._mesh))
        except (RuntimeError, ValueError, KeyError, TypeError) as error:
            differences = " ".join(line.strip() for line in str(error).splitlines()[:4])
            message = f"checkpoint {source} is of another model or optimizer than the workload's: {differences}"
            raise JobFailed(FailureCause.USER_CODE_FAILED, f"{message}; give the job a new id to begin anew") from error
        # A schedule would warn that the optimizer has not taken a step: it has, before.
        self._workload.optimizer._opt_called = True  # type: ignore[attr-defined]  # torch's own mark
        self.step, self.epoch, self.position = saved["step"], saved["epoch"], saved["position"]
        self.loss_sums = saved["loss_sums"]

    def _schedule(self, interval: str) -> None:
        if self._workload.lr_scheduler and self._workload.lr_interval == interval:
            self._workload.lr_scheduler.step()

    def _parts(self) -> dict[str, Any]:
        parts = {"model": self._workload.model, "optimizer": self._workload.optimizer, "scaler": self._scaler}
        return parts | ({"lr_scheduler": self._workload.lr_scheduler} if self._workload.lr_scheduler else {})


def read_state(folder: Path) -> dict[str, Any]:
    """Read a checkpoint: into host memory, or where it is in shards, as `jobs.sharding.Sharded` tensors."""
    # Tensors and plain values only: reading a checkpoint runs no code that is in it.
    shards = sorted(folder.glob("shard-*.pt"))
    saved: dict[str, Any]
    if shards:
        saved = side_by_side([torch.load(file, map_location="cpu", weights_only=True, mmap=True) for file in shards])
    else:
        saved = torch.load(folder / STATE_FILE, map_location="cpu", weights_only=True)
    return saved


def write_state(folder: Path, saved: Mapping[str, Any]) -> None:
    """Write a snapshot into a folder that someone else makes a checkpoint of."""
    torch.save(dict(saved), folder / STATE_FILE)


def load_model_weights(folder: Path, workload: Workload) -> None:
    """Give a workload's model the weights of a checkpoint, on the CPU."""
    workload.model.cpu().load_state_dict(placed(read_state(folder)["model"], mesh=None))


def _copied(value: Any, values: bool = True) -> Any:
    """Copy a state; without the values, tensors are empty ones, so that it is quick whatever the model's size."""
    if isinstance(value, DTensor):
        return saved_shard(value, _copied(value.to_local(), values))
    if isinstance(value, Tensor):
        if not values:
            return torch.empty(0, dtype=value.dtype)
        # Page-locked memory is copied to at several times the speed; torch keeps what was freed for the next time.
        host = torch.empty_like(value, device="cpu", pin_memory=value.is_cuda)
        return host.copy_(value.detach(), non_blocking=True)
    if isinstance(value, Mapping):
        return {name: _copied(part, values) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_copied(part, values) for part in value)
    return copy.deepcopy(value)
