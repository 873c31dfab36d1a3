"""Training that is interrupted, with and without notice: what it costs, and that nothing of it shows in the model."""

import pytest
import torch

from platform_app.specs import AttemptStatus
from tests.plain_ray import run_of

pytestmark = [pytest.mark.ray, pytest.mark.timeout(400)]

SPEC = {
    "name": "digits",
    "workload": "tests.integration.slow_digits:make",
    "epochs": 6,
    "batch_size": 128,
    "max_failures": 0,
    "objective": {"metric": "accuracy", "mode": "max"},
    "checkpointing": {"every_epochs": 100, "every_steps": 10},
    "resources": {"num_workers": 2, "gpus_per_worker": 1},
}
TOTAL_STEPS = 6 * 12


@pytest.fixture(scope="module")
def uninterrupted(nodes):
    """The weights of a run that nothing happened to."""
    assert nodes.run("jobs.train", SPEC, "calm") == 0, nodes.log_path("calm").read_text()
    assert nodes.report("calm").interruptions == ()
    return nodes.weights("calm", TOTAL_STEPS)


def equal(weights, others):
    return all(torch.equal(weights[name], others[name]) for name in weights)


def finish(nodes, process, job_id, attempt=1):
    assert process.wait(180) == 0, nodes.log_path(job_id, attempt).read_text()
    report = nodes.report(job_id, attempt)
    assert report.status is AttemptStatus.SUCCEEDED
    assert report.progress.done == report.progress.total == TOTAL_STEPS
    return report.interruptions


def test_a_killed_worker_and_a_killed_driver_cost_one_interval_at_most_and_do_not_show(nodes, uninterrupted):
    first = nodes.start("jobs.train", SPEC, "killed")
    nodes.wait_for_step("killed", 25)
    nodes.training_workers()[0][0].kill()
    nodes.wait_for(lambda: nodes.report("killed").interruptions, "the next step", 120)
    [interruption] = nodes.report("killed").interruptions
    assert interruption.cause == "worker-lost"
    # One interval, and what was done while the last checkpoint was being written.
    assert interruption.steps_lost <= 12
    nodes.wait_for_step("killed", 45)
    first.kill()
    second = nodes.start("jobs.train", SPEC, "killed", attempt=2)
    [interruption] = finish(nodes, second, "killed", attempt=2)
    assert interruption.cause == "driver-lost"
    assert interruption.steps_lost <= 12
    assert equal(nodes.weights("killed", TOTAL_STEPS), uninterrupted)
    assert run_of(nodes, "killed").info.status == "FINISHED"


def test_notice_costs_no_step_and_does_not_show(nodes, uninterrupted):
    process = nodes.start("jobs.train", SPEC, "noticed")
    nodes.wait_for_step("noticed", 15)
    used = {node_id for _, node_id in nodes.training_workers()}
    name = next(name for name in "abc" if nodes.node_id(name) in used)
    nodes.drain(name)
    [interruption] = finish(nodes, process, "noticed")
    assert (interruption.cause, interruption.steps_lost, interruption.num_workers) == ("notice", 0, 2)
    assert equal(nodes.weights("noticed", TOTAL_STEPS), uninterrupted)
