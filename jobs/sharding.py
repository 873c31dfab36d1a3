"""Models that are sharded over the workers by FSDP2, and their way into a checkpoint and onto other numbers of workers.

Each worker saves its own shards. A checkpoint is read as all of them side by side, from files that are mapped into
memory: who resumes reads what it needs of a tensor, and no worker ever holds more than one whole tensor.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Shard, distribute_tensor
from torch.optim import Optimizer

from jobs.failure import JobFailed
from platform_app.specs import FailureCause

_SHARD = "sharded along dimension 0"
"""The only key of what stands in a saved state for a sharded tensor; its value is the worker's own shard."""


@dataclass(frozen=True)
class Sharded:
    """A tensor of a saved state, as the shards of the workers that saved it."""

    shards: Sequence[Tensor]
    """In the order of the workers' ranks; some may be empty."""

    def whole(self) -> Tensor:
        """Put it together."""
        return torch.cat(list(self.shards))

    def over(self, mesh: DeviceMesh) -> Tensor:
        """Give the workers of a mesh, however many, their shards of it."""
        # Each takes its own part: nothing is sent.
        return distribute_tensor(self.whole(), mesh, [Shard(0)], src_data_rank=None)


def shard(model: nn.Module, optimizer: Optimizer, device: torch.device, world_size: int) -> DeviceMesh:
    """Leave each worker with its shards of a model, on its device, and have the optimizer go on with them.

    Args:
        model: the same on every worker.
        optimizer: over the model's parameters; it has not taken a step.
        device: this worker's.
        world_size: how many workers there are.

    Raises:
        JobFailed: the optimizer is over something else.
    """
    if device.type == "cuda":
        torch.cuda.set_device(device)  # otherwise the mesh chooses one
    mesh = init_device_mesh(device.type, (world_size,))
    before = {parameter: name for name, parameter in model.named_parameters()}
    if any(parameter not in before for group in optimizer.param_groups for parameter in group["params"]):
        message = "parallel: fsdp needs an optimizer over parameters of the workload's model alone"
        raise JobFailed(FailureCause.USER_CODE_FAILED, message)
    for block in blocks(model):
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    after = dict(model.named_parameters())
    for group in optimizer.param_groups:
        group["params"] = [after[before[parameter]] for parameter in group["params"]]
    return mesh


def saved_shard(tensor: DTensor, copied: Tensor) -> dict[str, Tensor]:
    """Say what stands for a sharded tensor in a state that is saved: a copy of this worker's shard."""
    assert tensor.placements == (Shard(0),)
    return {_SHARD: copied}


def side_by_side(states: Sequence[Any]) -> Any:
    """Put together what the workers saved, by rank: `Sharded` where there are shards, else what the first says."""
    first = states[0]
    if isinstance(first, Mapping):
        if first.keys() == {_SHARD}:
            return Sharded([state[_SHARD] for state in states])
        return {name: side_by_side([state[name] for state in states]) for name in first}
    if isinstance(first, (list, tuple)):
        return type(first)(side_by_side(parts) for parts in zip(*states, strict=True))
    # A copy, because files that are mapped into memory may be deleted.
    return first.clone() if isinstance(first, Tensor) else first


def placed(state: Any, mesh: DeviceMesh | None) -> Any:
    """Turn what was saved in shards into tensors: sharded over a mesh, or whole ones without one."""
    if isinstance(state, Sharded):
        return state.over(mesh) if mesh else state.whole()
    if isinstance(state, Mapping):
        return {name: placed(part, mesh) for name, part in state.items()}
    if isinstance(state, (list, tuple)):
        return type(state)(placed(part, mesh) for part in state)
    return state


def blocks(module: nn.Module) -> list[nn.Module]:
    """Find the members of the outermost lists of a model's modules: a transformer's layers."""
    found: list[nn.Module] = []
    for child in module.children():
        found += child if isinstance(child, nn.ModuleList) else blocks(child)
    return found
