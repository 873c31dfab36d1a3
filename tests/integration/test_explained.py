"""Why a job waits or failed, where the causes are real: Ray's own autoscaler, imports, and the spot market."""

import pytest

from platform_app.local.market import stock
from tests.running import eventually

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]

CODE = {"workload": "jobs.workloads.digits:make", "epochs": 2, "objective": {"metric": "accuracy", "mode": "max"}}
ON_CPUS = {"gpus_per_worker": 0}
SPOT = {"market": "spot"}


@pytest.fixture(scope="module")
def jobs(running):
    """Three jobs, each with a trouble of its own: by what it is, the job's id."""
    client = running.client
    stock(running.state, "gpu-spot", 0, notice_seconds=0)
    try:
        submitted = {
            "stock-out": client.submit({**CODE, "name": "no-spot", "resources": {"num_workers": 4, **SPOT}}),
            "import": client.submit(
                {**CODE, "name": "no-code", "workload": "nowhere.at_all:make", "resources": ON_CPUS}
            ),
            "full": client.submit({**CODE, "name": "no-room", "resources": SPOT}),
        }
        yield {name: job.id for name, job in submitted.items()}
        for job in submitted.values():
            client.stop(job.id)
    finally:
        stock(running.state, "gpu-spot", None)


@pytest.mark.parametrize(
    ("name", "cause", "says"),
    [
        ("stock-out", "out-of-stock", "gpu-spot is out of stock"),
        ("full", "groups-full", "4 of 4 of gpu-spot are taken"),
        ("import", "module-missing", "no module nowhere"),
    ],
)
def test_the_first_reason_is_the_one_that_was_made(running, jobs, name, cause, says):
    found = eventually(lambda: (one := running.client.explain(jobs[name])).cause == cause and one, timeout=150)
    assert says in found.why
    assert found.blocked
    assert found.wait is None
    assert found.evidence


def test_what_could_be_had_instead_of_spot_is_told_with_its_price(running, jobs):
    found = running.client.explain(jobs["full"])
    assert "resources.market: prefer-spot" in [option.change for option in found.options]


@pytest.mark.long
@pytest.mark.timeout(700)
def test_a_requirement_that_pip_cannot_install_is_named_once_ray_has_given_up(running):
    """Ray copies the whole virtual environment for each of its three tries."""
    client = running.client
    job = client.submit({**CODE, "name": "no-pip", "pip": ["slipway-has-no-such-thing==9.9"], "resources": ON_CPUS})
    eventually(lambda: client.explain(job.id).cause in ("runtime-env", "runtime-env-slow"))
    found = eventually(lambda: (one := client.explain(job.id)).state.is_terminal and one, timeout=600)
    assert (found.cause, "slipway-has-no-such-thing" in found.why) == ("runtime-env-requirement", True)
