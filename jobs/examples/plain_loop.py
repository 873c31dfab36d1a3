"""Ray Train code as in Ray's own documentation, which knows nothing of Slipway: a line is fitted to points."""

import tempfile
from typing import Any

import mlflow
import ray.train
import ray.train.torch
import torch
from ray.train import Checkpoint


def train(config: dict[str, Any]) -> None:
    """Be one worker.

    Args:
        config: `lr` and `epochs`.
    """
    model = ray.train.torch.prepare_model(torch.nn.Linear(1, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=config["lr"])
    points = torch.linspace(-1, 1, 64).unsqueeze(1)
    is_first = ray.train.get_context().get_world_rank() == 0
    for epoch in range(config["epochs"]):
        loss = torch.nn.functional.mse_loss(model(points), 3 * points + 1)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        metrics = {"loss": loss.item(), "epoch": epoch + 1}
        if is_first:
            mlflow.log_metrics(metrics, step=epoch)  # joins the job's run
        ray.train.report(metrics, checkpoint=_checkpoint(model) if is_first else None)


def _checkpoint(model: torch.nn.Module) -> Checkpoint:
    folder = tempfile.mkdtemp()
    torch.save(model.state_dict(), f"{folder}/model.pt")
    return Checkpoint.from_directory(folder)
