"""A workload that is sharded over its workers, and a process that trains as one of them and keeps real checkpoints."""

import os
import signal

import torch
import torch.distributed as dist
from torch import nn
from torch.utils.data import TensorDataset

from jobs.checkpoints import Checkpoints, Writers
from jobs.loop import fit
from jobs.saver import Saver
from jobs.seat import Seat
from jobs.state import read_state
from jobs.workload import Workload
from platform_app.specs import Objective
from tests.unit.jobs import tiny

WORDS = 7
"""Rows of the embedding: not a multiple of the numbers of workers, and fewer shards than some of them."""


class Chain(nn.Module):
    """Guesses the next word; embedding and head share their weights, as language models' do."""

    def __init__(self, dropout):
        super().__init__()
        self.embedding = nn.Embedding(WORDS, 6)
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Dropout(dropout)) for _ in range(2))
        self.head = nn.Linear(6, WORDS, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, words):
        hidden = self.embedding(words)
        for block in self.blocks:
            hidden = hidden + block(hidden)
        return self.head(hidden)


def make(config):
    """Have it learn to count."""
    torch.manual_seed(0)
    model = Chain(config.get("dropout", 0.1))
    words = torch.arange(23) % WORDS
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in model.parameters() if p.dim() > 1], "weight_decay": 0.1},
            {"params": [p for p in model.parameters() if p.dim() == 1], "weight_decay": 0.0},
        ],
        lr=0.01,
    )
    return Workload(
        model=model,
        train_dataset=TensorDataset(words, (words + 1) % WORDS),
        eval_dataset=TensorDataset(words, (words + 1) % WORDS),
        optimizer=optimizer,
        loss=lambda model, batch: nn.functional.cross_entropy(model(batch[0]), batch[1]),
        evaluate=lambda model, batch: {},
        example_input=words[:2],
        lr_scheduler=torch.optim.lr_scheduler.LinearLR(optimizer, 0.1, total_iters=8),
        lr_interval="step",
        accumulate=2,
        parallel=config.get("parallel", "fsdp"),
    )


def make_whole(config):
    """Have every worker hold the whole model."""
    return make({"parallel": "ddp"})


def make_steady(config):
    """Leave nothing to chance, which is another on another number of workers."""
    return make({"dropout": 0.0})


class Keeping(tiny.Recorder):
    """Hosts a loop whose checkpoints are written."""

    def __init__(self, saver, leave_after):
        super().__init__(leave_after)
        self._saver = saver

    def save(self, saved):
        if self._saver:
            self._saver.save(saved["step"], saved)

    def end_epoch(self, metrics, saved):
        self.metrics.append(dict(metrics))
        if saved and self._saver:
            self._saver.save(saved["step"], saved, metrics)


class Troubled(Checkpoints):
    """At one step one worker finds the disk full, or is killed while it writes."""

    trouble = None

    def _write(self, aside, state, writers):
        match self.trouble:
            case (kind, step, rank) if (step, rank) == (state["step"], writers.rank):
                if kind == "killed":
                    (aside / writers.file).write_bytes(b"half")
                    os.kill(os.getpid(), signal.SIGKILL)
                raise OSError(28, "No space left on device")
        return super()._write(aside, state, writers)


def work(rank, world_size, port, spec, make, leave_after, folder, trouble):
    """Be one worker of a run, from its last checkpoint on."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=world_size)
    seat = Seat(torch.device("cpu"), rank, world_size)
    workload = make({})
    checkpoints = Troubled(folder, Objective(metric="loss", mode="min"), 100)
    checkpoints.trouble = trouble
    newest, _ = checkpoints.newest_whole()
    resume_from = (newest.path.name, read_state(newest.path)) if newest else None
    warnings = []
    writers = Writers(rank, seat.exchange()) if workload.parallel == "fsdp" else Writers()
    with Saver(checkpoints, 1, warnings.append, writers) as saver:
        writes = rank == 0 or workload.parallel == "fsdp"
        host = Keeping(saver if writes else None, {leave_after} if rank == world_size - 1 else ())
        fit(spec, workload, seat, resume_from, host)
    (folder / f"warnings-{rank}").write_text("\n".join(warnings))
    dist.destroy_process_group()
