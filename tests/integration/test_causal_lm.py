"""A language model, sharded over two workers: interrupted with and without notice, published, and asked."""

from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch

from jobs.sharding import placed
from jobs.state import read_state
from platform_app.specs import AttemptStatus, FailureCause

pytestmark = [pytest.mark.ray, pytest.mark.timeout(400)]

LENGTH, BATCH, EPOCHS = 32, 16, 4
STEPS = 18 * EPOCHS
"""Of 320 sequences 288 are trained on."""


def spec(**config):
    return {
        "name": "lm",
        "workload": "tests.integration.slow_lm:make",
        "config": {"sequence_length": LENGTH, "lr": 0.003, "warmup_steps": 8, "accumulate": 2, "parallel": "fsdp"}
        | config,
        "epochs": EPOCHS,
        "batch_size": BATCH,
        "max_failures": 0,
        "checkpointing": {"every_epochs": EPOCHS, "every_steps": 10},
        "resources": {"num_workers": 2, "gpus_per_worker": 1},
    }


@pytest.fixture(scope="module")
def text(nodes):
    path = nodes.folder / "text.txt"
    path.write_text("".join(f"{i} is followed by {i + 1}. " for i in range(1000))[: 320 * LENGTH])
    return str(path)


def finish(nodes, process, job_id):
    assert process.wait(240) == 0, nodes.log_path(job_id).read_text()
    report = nodes.report(job_id)
    assert report.status is AttemptStatus.SUCCEEDED
    assert report.progress.done == report.progress.total == STEPS
    return report


def weights(nodes, job_id):
    folder = nodes.storage / job_id / "checkpoints" / f"step-{STEPS:08d}"
    assert len(list(folder.glob("shard-*.pt"))) == 2
    return placed(read_state(folder)["model"], mesh=None)


@pytest.mark.long
def test_interruptions_of_a_sharded_run_cost_what_they_may_and_do_not_show_in_the_published_model(nodes, text):
    calm = nodes.start("jobs.train", spec(text=text) | {"registered_model": "lm"}, "calm")
    report = finish(nodes, calm, "calm")
    assert report.model_version == 1

    disturbed = nodes.start("jobs.train", spec(text=text), "disturbed")
    nodes.wait_for_step("disturbed", 15)
    nodes.training_workers()[1][0].kill()
    nodes.wait_for(lambda: nodes.report("disturbed").interruptions, "the next step", 120)
    nodes.wait_for_step("disturbed", 35)
    used = {node_id for _, node_id in nodes.training_workers()}
    nodes.drain(next(name for name in "abc" if nodes.node_id(name) in used))
    lost, noticed = finish(nodes, disturbed, "disturbed").interruptions
    assert (lost.cause, noticed.cause) == ("worker-lost", "notice")
    # One interval, and what was done while the last checkpoint was being written.
    assert lost.steps_lost <= 12
    assert noticed.steps_lost == 0
    expected, seen = weights(nodes, "calm"), weights(nodes, "disturbed")
    assert all(torch.equal(seen[name], expected[name]) for name in expected)

    mlflow.set_tracking_uri(nodes.tracking_uri)
    served = mlflow.pyfunc.load_model("models:/lm/1")
    tensors = served.metadata.signature.inputs.inputs + served.metadata.signature.outputs.inputs
    assert [(tensor.type, tensor.shape) for tensor in tensors] == [
        (np.dtype("int64"), (-1, LENGTH)),
        (np.dtype("float32"), (-1, LENGTH, 256)),
    ]
    tokens = np.frombuffer(Path(text).read_bytes()[: 3 * LENGTH], dtype=np.uint8).astype(np.int64).reshape(3, LENGTH)
    guessed = served.predict(tokens).argmax(-1)
    assert (guessed[:, :-1] == tokens[:, 1:]).mean() > 0.2
    requirements = mlflow.pyfunc.get_model_dependencies("models:/lm/1")
    assert "transformers==" in Path(requirements).read_text()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"batch_size": 17}, "batch_size: 17 does not divide into accumulate=2 micro-batches"),
        ({"config": {"model": "/nowhere/llama"}}, "config.model: there is no folder /nowhere/llama"),
        ({"resources": {"num_workers": 1}}, "resources.num_workers: parallel=fsdp shards over 2 workers or more"),
    ],
)
def test_bad_input_ends_the_job_with_the_fields_name_and_is_not_tried_again(nodes, text, fields, message):
    job_id = f"bad-{next(iter(fields)).replace('_', '-')}"
    asked = spec(text=text) | {"max_failures": 5} | fields
    assert nodes.run("jobs.train", asked, job_id) == 1
    report = nodes.report(job_id)
    assert report.cause is FailureCause.USER_CODE_FAILED
    assert message in report.message
