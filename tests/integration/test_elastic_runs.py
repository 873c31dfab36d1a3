"""An elastic run on the real platform makes room for who waits, and takes it back."""

from pathlib import Path

import pytest

from platform_app.domain.job import JobState
from tests.running import eventually

pytestmark = [pytest.mark.ray, pytest.mark.long, pytest.mark.timeout(400)]

CODE = Path(__file__).parent
SLOW = {
    "workload": "slow_digits:make",
    "checkpointing": {"every_steps": 20},
}


def on_demand(num_workers):
    """Ask for the group of two workers, so that two jobs are enough to fill it."""
    return {"num_workers": num_workers, "market": "on-demand"}


def test_an_elastic_run_shrinks_for_a_waiting_job_and_grows_again(running):
    client = running.client
    wide = client.submit({**SLOW, "name": "wide", "epochs": 5000, "resources": on_demand([1, 2])}, working_dir=CODE)
    eventually(lambda: client.job(wide.id).num_workers == 2, timeout=120)
    narrow = client.submit({**SLOW, "name": "narrow", "epochs": 1, "resources": on_demand(1)}, working_dir=CODE)
    eventually(lambda: client.job(wide.id).num_workers == 1, timeout=120)
    assert client.wait(narrow.id, timeout=180).state is JobState.SUCCEEDED
    assert not client.job(wide.id).state.is_terminal
    eventually(lambda: client.job(wide.id).num_workers == 2, timeout=180)
    costs = client.job(wide.id).interruptions
    assert [one.cause for one in costs] == ["resize", "resize"]
    assert [one.steps_lost for one in costs] == [0, 0]
    client.stop(wide.id)
    assert client.wait(wide.id, timeout=60).state is JobState.STOPPED
