"""Elastic runs beside others that hold, or leave idle, what Ray Train's own elasticity would count on.

Each is a case in which `ScalingConfig(num_workers=(min, max))` of Ray Train 2.60 tears a healthy run down again and
again, starves it, or never starts it. The group of on-demand GPU workers has room for two.
"""

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from platform_app.domain.job import JobState
from platform_app.local.state import ray_client_environment
from tests.running import eventually

pytestmark = [pytest.mark.ray, pytest.mark.long, pytest.mark.timeout(600)]

CODE = Path(__file__).parent
HOLD = """
import ray, time
ray.init(log_to_driver=False)
@ray.remote(num_gpus=1, num_cpus=1, label_selector={"ray.io/market-type": "on-demand"})
class Holder:
    def there(self): return True
holder = Holder.remote()
print(ray.get(holder.there.remote()), flush=True)
time.sleep(3600)
"""


def submit(running, name, num_workers, **fields):
    resources = {"num_workers": num_workers, "market": "on-demand", **fields.pop("resources", {})}
    spec = {
        "workload": "slow_digits:make",
        "checkpointing": {"every_steps": 20},
        "epochs": 5000,
        "name": name,
        "resources": resources,
    }
    return running.client.submit(spec | fields, working_dir=CODE).id


def on(running, job_id, num_workers):
    """Wait until a run trains on so many workers."""
    eventually(lambda: running.client.job(job_id).num_workers == num_workers, timeout=240)


def trains_on(running, job_id, steps=50):
    """Wait until a run has taken steps, and give what has interrupted it."""

    def done():
        job = running.client.job(job_id)
        assert not job.state.is_terminal, job.message
        return job.progress.done if job.progress else 0

    before = eventually(done, timeout=240)
    eventually(lambda: done() >= before + steps, timeout=240)
    return [one.cause for one in running.client.job(job_id).interruptions]


def stop(running, *job_ids):
    for job_id in job_ids:
        running.client.stop(job_id)
    for job_id in job_ids:
        assert running.client.wait(job_id, timeout=120).state is JobState.STOPPED


@contextmanager
def a_worker_held(running):
    """Hold one on-demand GPU by an actor that the platform knows nothing of."""
    environment = os.environ | ray_client_environment(running.state.ray_token)
    environment["RAY_ADDRESS"] = running.state.ray_address
    with subprocess.Popen([sys.executable, "-c", HOLD], env=environment, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert "True" in holder.stdout.readline()
            yield
        finally:
            holder.kill()


def test_a_worker_that_another_holds_is_waited_for_while_the_run_trains_on(running):
    with a_worker_held(running):
        job_id = submit(running, "beside", [1, 2])
        on(running, job_id, 1)
        assert trains_on(running, job_id) == [], "what is granted and cannot be had costs nothing"
    on(running, job_id, 2)
    assert trains_on(running, job_id, steps=1) == ["resize"]
    stop(running, job_id)


def test_two_elastic_runs_that_would_take_more_than_there_is_share_it(running):
    one = submit(running, "one", [1, 4])
    on(running, one, 2)
    other = submit(running, "other", [1, 2])
    on(running, one, 1)
    on(running, other, 1)
    resizes = [len(trains_on(running, job_id)) for job_id in (one, other)]
    assert [len(trains_on(running, job_id)) for job_id in (one, other)] == resizes, "they are at rest"
    stop(running, one)
    on(running, other, 2)
    stop(running, other)


def test_an_elastic_run_starts_on_the_worker_that_a_fixed_one_leaves(running):
    fixed = submit(running, "fixed", 1)
    on(running, fixed, 1)
    elastic = submit(running, "elastic", [1, 2])
    on(running, elastic, 1)
    assert trains_on(running, elastic) == []
    assert trains_on(running, fixed, steps=1) == []
    stop(running, fixed, elastic)


def test_an_idle_node_of_another_market_does_not_disturb_a_run(running):
    idle = submit(running, "idle", 1)
    on(running, idle, 1)
    job_id = submit(running, "spot", [1, 2], resources={"market": "spot"})
    on(running, job_id, 2)
    stop(running, idle)
    before = len(running.client.job(job_id).interruptions)
    assert len(trains_on(running, job_id)) == before
    stop(running, job_id)
