"""Training as Ray's documentation has it: Ray Train with its defaults and a checkpoint with every so many steps.

python plain.py '{"name": ..., "storage": ..., "save_every": 10, "last_step": 1000, "ledger": ..., "step_seconds": 0.1}'
"""

import json
import sys
import tempfile
from pathlib import Path

import killed
import ray
import ray.train
import ray.train.torch
import torch
from drilled import BATCH
from ray.train import Checkpoint, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer
from torch.utils.data import DataLoader, DistributedSampler

WORKERS = 2


def train(config: dict) -> None:
    """Be one worker."""
    workload = killed.make(config)
    # Simulated GPUs are none that torch could move a model to.
    model = ray.train.torch.prepare_model(workload.model, move_to_device=False)
    optimizer = workload.optimizer
    step, epoch = 0, 0
    checkpoint = ray.train.get_checkpoint()
    if checkpoint:
        with checkpoint.as_directory() as folder:
            state = torch.load(Path(folder) / "state.pt")
        model.module.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        step, epoch = state["step"], state["epoch"]
    sampler = DistributedSampler(workload.train_dataset)
    loader = DataLoader(workload.train_dataset, batch_size=BATCH // WORKERS, sampler=sampler)
    while step < config["last_step"]:
        sampler.set_epoch(epoch)
        for batch in loader:
            optimizer.zero_grad()
            workload.loss(model, batch).backward()
            optimizer.step()
            step += 1
            if step % config["save_every"] == 0:
                with tempfile.TemporaryDirectory() as folder:
                    kept = None
                    if ray.train.get_context().get_world_rank() == 0:
                        state = {"model": model.module.state_dict(), "optimizer": optimizer.state_dict()}
                        torch.save({**state, "step": step, "epoch": epoch}, Path(folder) / "state.pt")
                        kept = Checkpoint.from_directory(folder)
                    ray.train.report({"step": step}, checkpoint=kept)
        epoch += 1


if __name__ == "__main__":
    told = json.loads(sys.argv[1])
    ray.init(runtime_env={"working_dir": str(Path(__file__).parent)})
    TorchTrainer(
        train,
        train_loop_config=told,
        torch_config=TorchConfig(backend="gloo"),
        scaling_config=ScalingConfig(num_workers=WORKERS, use_gpu=True),
        run_config=RunConfig(
            name=told["name"], storage_path=told["storage"], failure_config=FailureConfig(max_failures=-1)
        ),
    ).fit()
