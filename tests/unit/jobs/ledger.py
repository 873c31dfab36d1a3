"""A workload whose weights say which samples they are made of, and a process that trains as one of several workers."""

import torch
import torch.distributed as dist
from torch import nn
from torch.utils.data import TensorDataset

from jobs.loop import fit
from jobs.seat import Seat
from jobs.workload import Workload
from tests.unit.jobs import tiny

SIZE, BATCH = 23, 5


def make(config):
    """Have each sample write into a weight of its own how often, and in how large a batch, it was learned from."""
    model = nn.Embedding(SIZE, 1)
    nn.init.zeros_(model.weight)
    data = TensorDataset(torch.arange(SIZE))
    return Workload(
        model=model,
        train_dataset=data,
        eval_dataset=data,
        optimizer=torch.optim.SGD(model.parameters(), lr=1.0),
        loss=lambda model, batch: model(batch[0]).mean(),
        evaluate=lambda model, batch: {},
        example_input=torch.arange(2),
    )


def work(rank, world_size, port, spec, make, leave_after, folder):
    """Be one worker of a run."""
    torch.set_num_threads(1)
    seat = Seat(torch.device("cpu"), rank, world_size)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=world_size)
    # Each reads its own: what is handed to a process that is spawned is shared between them.
    left = folder / "left.pt"
    resume_from = ("step", torch.load(left)[0]) if left.exists() else None
    # Whichever worker it is that has notice: all leave after the same step.
    host = tiny.Recorder({leave_after} if rank == world_size - 1 else ())
    fit(spec, make({}), seat, resume_from, host)
    if rank == 0:
        torch.save((host.saved[-1], host.metrics), left)
    dist.destroy_process_group()
