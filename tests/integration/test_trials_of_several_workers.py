"""Sweeps whose trials have several workers each, on a Ray cluster of this machine."""

import signal
from collections import Counter

import psutil
import pytest

from tests.sweeping import kill, sweeps_on_ray

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]

TWO_EACH = {"gpus_per_worker": 0, "num_workers": 2}


@pytest.fixture(scope="module")
def sweeps():
    with sweeps_on_ray() as running:
        yield running


def trained(sweeps, job_id, suffix=""):
    """Count what was trained, by epoch and learning rate, whoever did it."""
    return Counter((epoch, rate) for _, epoch, rate in sweeps.diary(job_id, suffix))


def test_trials_of_two_workers_are_compared_and_stopped_and_the_best_is_registered(sweeps):
    search = {"algorithm": "random", "num_samples": 4, "max_concurrent": 4, "seed": 1}
    scheduler = {"type": "asha", "reduction_factor": 2}
    spec = sweeps.spec("asha", search=search, scheduler=scheduler, resources=TWO_EACH, registered_model="wide")
    sweeps.finish(sweeps.start(spec, "asha"), "asha")
    children = sweeps.children("asha")
    assert [child.info.status for child in children] == ["FINISHED"] * 4
    assert any("slipway.early_stopped" in child.data.tags for child in children)
    assert trained(sweeps, "asha") == trained(sweeps, "asha", ".others"), "both workers train every epoch"
    assert len({worker for worker, _, _ in sweeps.diary("asha", ".others")}) <= 2, "they stay for the next trial"
    assert sweeps.report("asha").model_version == 1
    best = max(rate for _, _, rate in sweeps.diary("asha"))
    assert sweeps.report("asha").progress.metrics["score"] == pytest.approx(best, abs=1e-6)


@pytest.mark.long
def test_a_killed_sweep_goes_on_with_its_trials_of_two_workers(sweeps):
    search = {"num_samples": 4, "max_concurrent": 2, "seed": 1}
    spec = sweeps.spec("again", search=search, resources=TWO_EACH)
    process = sweeps.start(spec, "again")
    sweeps.wait_for_ended(1, process, "again", 1)
    kill(process)
    ended = sweeps.ended("again", 1)
    sweeps.finish(sweeps.start(spec, "again", 2), "again", 2)
    epochs = Counter((trial, epoch) for trial, epoch, _ in sweeps.diary("again"))
    assert len(epochs) == 4 * 4
    once = [trial for trial in {trial for trial, _ in epochs} if all(epochs[trial, n] == 1 for n in range(1, 5))]
    assert len(once) >= ended


@pytest.mark.long
def test_a_population_of_trials_of_two_workers_trains_with_the_same_rate_on_both(sweeps):
    search = {"algorithm": "random", "num_samples": 2, "max_concurrent": 2, "seed": 1}
    scheduler = {"type": "pbt", "quantile_fraction": 0.5}
    spec = sweeps.spec("pbt", search=search, scheduler=scheduler, resources=TWO_EACH)
    sweeps.finish(sweeps.start(spec, "pbt"), "pbt")
    assert len({rate for _, _, rate in sweeps.diary("pbt")}) > 2, "one has gone on with another rate"
    assert trained(sweeps, "pbt") == trained(sweeps, "pbt", ".others")


@pytest.mark.long
def test_what_another_worker_raises_is_tried_again_and_then_told(sweeps):
    search = {"algorithm": "random", "num_samples": 1, "max_concurrent": 1}
    for job_id, budget, expected in (("mended", 1, 0), ("told", 0, 1)):
        config = {"diary": str(sweeps.folder / f"{job_id}.diary"), "seconds": 0, "raises": str(sweeps.folder / job_id)}
        spec = sweeps.spec(job_id, search=search, config=config, resources=TWO_EACH, max_failures=budget)
        assert sweeps.start(spec, job_id).wait(300) == expected, sweeps.log(job_id, 1)
    assert "the second worker is not well (sweeping.py:" in sweeps.report("told").message


@pytest.mark.long
def test_a_trial_whose_other_worker_is_killed_goes_on_from_its_checkpoint(sweeps):
    search = {"algorithm": "random", "num_samples": 1, "max_concurrent": 1}
    spec = sweeps.spec("lost", search=search, resources=TWO_EACH)
    process = sweeps.start(spec, "lost")
    sweeps.wait_for(lambda: sweeps.diary("lost", ".others") or process.poll(), "an epoch")
    psutil.Process(int(sweeps.diary("lost", ".others")[0][0])).send_signal(signal.SIGKILL)
    sweeps.finish(process, "lost")
    epochs = Counter(epoch for _, epoch, _ in sweeps.diary("lost"))
    assert epochs.keys() == {1, 2, 3, 4}
    assert sum(epochs.values()) <= 5, "no more than the epoch that it was in is trained again"
