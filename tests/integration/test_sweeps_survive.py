"""Sweeps whose driver is killed, and the head with it, on a Ray cluster of this machine."""

import contextlib
import random
import sys
import time
from collections import Counter

import pytest
import ray

from platform_app.specs import AttemptStatus
from tests.sweeping import kill, sweeps_on_ray

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def sweeps():
    with sweeps_on_ray() as running:
        yield running


def killed_and_continued(sweeps, spec, job_id, after_trials):
    """Kill a driver, run the sweep to its end with another, and give how many trials the first told to have ended."""
    process = sweeps.start(spec, job_id)
    sweeps.wait_for_ended(after_trials, process, job_id, 1)
    kill(process)
    told = sweeps.ended(job_id, 1)
    sweeps.finish(sweeps.start(spec, job_id, 2), job_id, 2)
    report = sweeps.report(job_id, 2)
    assert (report.status, report.progress.done) == (AttemptStatus.SUCCEEDED, report.progress.total)
    return told


def test_a_sweep_whose_driver_is_killed_and_then_the_head_too_runs_no_finished_trial_again(sweeps):
    spec, chance = sweeps.spec("killed", registered_model="swept"), random.Random()
    told, trained = [], []
    for attempt, wanted in ((1, 3), (2, 7)):
        process = sweeps.start(spec, "killed", attempt)
        sweeps.wait_for_ended(wanted, process, "killed", attempt)
        time.sleep(chance.uniform(0, 0.5))
        kill(process)
        told.append(sweeps.ended("killed", attempt))
        assert told[-1] >= wanted, f"it told {sweeps.report('killed', attempt)}, and {sweeps.log('killed', attempt)}"
        trained.append(Counter((trial, epoch) for trial, epoch, _ in sweeps.diary("killed")))
    sweeps.cluster.shutdown()
    sweeps.start_cluster()
    process = sweeps.start(spec, "killed", 3)
    sweeps.wait_for_ended(1, process, "killed", 3)
    assert sweeps.ended("killed", 3) >= told[1] >= told[0]
    sweeps.finish(process, "killed", 3)

    epochs = Counter((trial, epoch) for trial, epoch, _ in sweeps.diary("killed"))
    trials = {trial for trial, _ in epochs}
    assert len(trials) == 12
    assert epochs.keys() == {(trial, epoch) for trial in trials for epoch in range(1, 5)}
    for ended, before in zip(told, trained, strict=True):
        same = [trial for trial in trials if all(epochs[trial, n] == before[trial, n] for n in range(1, 5))]
        assert len(same) >= ended, "what was told to have ended never trains again"
    # Only what ran when the driver was killed is done again, and only from the last commit on; how many epochs that
    # are depends on the machine's speed.
    assert len({trial for (trial, _), times in epochs.items() if times > 1}) <= 2 * 3
    assert max(epochs.values()) <= 3
    report = sweeps.report("killed", 3)
    assert (report.status, report.progress.done, report.progress.total) == (AttemptStatus.SUCCEEDED, 12, 12)
    assert report.model_version == 1
    assert "Traceback" not in sweeps.log("killed", 2) + sweeps.log("killed", 3)


def test_every_trial_of_the_killed_sweep_has_one_run_with_every_epoch_once(sweeps):
    children = sweeps.children("killed")
    assert len(children) == 12
    assert {child.info.status for child in children} == {"FINISHED"}
    for child in children:
        assert [step for step, _ in sweeps.history(child, "score")] == [1, 2, 3, 4]


def test_the_worse_of_a_population_go_on_from_the_better_with_other_hyperparameters(sweeps):
    search = {"algorithm": "random", "num_samples": 4, "max_concurrent": 4, "seed": 1}
    spec = sweeps.spec("pbt", search=search, scheduler={"type": "pbt"}, epochs=6)
    sweeps.finish(sweeps.start(spec, "pbt"), "pbt")
    rates = {}
    for trial, _, rate in sweeps.diary("pbt"):
        rates.setdefault(trial, set()).add(rate)
    assert len(rates) == 4
    assert any(len(seen) > 1 for seen in rates.values()), "a learning rate that has changed is trained with"
    assert all(0.001 <= rate <= 0.1 for seen in rates.values() for rate in seen)
    assert len(sweeps.children("pbt")) == 4


@pytest.mark.long
def test_a_hyperband_sweep_goes_on_where_its_driver_was_killed(sweeps):
    search = {"num_samples": 6, "max_concurrent": 6, "seed": 1}
    spec = sweeps.spec("band", search=search, scheduler={"type": "hyperband"}, epochs=9)
    process = sweeps.start(spec, "band")
    sweeps.wait_for(lambda: len(sweeps.diary("band")) >= 8 or process.poll(), "8 epochs")
    kill(process)
    sweeps.finish(sweeps.start(spec, "band", 2), "band", 2)
    epochs = Counter((trial, epoch) for trial, epoch, _ in sweeps.diary("band"))
    children = sweeps.children("band")
    assert len(children) == len({trial for trial, _ in epochs}) == 6
    assert {child.info.status for child in children} == {"FINISHED"}
    assert sum(epochs.values()) - len(epochs) <= 4
    assert sum(1 for trial, epoch in epochs if epoch == 9) < 6, "some were stopped"


@pytest.mark.long
def test_a_killed_grid_tries_each_of_its_points_once(sweeps):
    points = [0.01, 0.02, 0.03, 0.04, 0.05, 0.06]
    spec = sweeps.spec(
        "grid",
        space={"lr": {"type": "grid", "values": points}},
        search={"algorithm": "random", "num_samples": 1, "max_concurrent": 2},
        scheduler={"type": "median", "min_samples_required": 2},
    )
    told = killed_and_continued(sweeps, spec, "grid", after_trials=2)
    children = sweeps.children("grid")
    assert sorted(float(child.data.params["lr"]) for child in children) == points
    assert {child.info.status for child in children} == {"FINISHED"}
    epochs = Counter((rate, epoch) for _, epoch, rate in sweeps.diary("grid"))
    assert {rate for rate, _ in epochs} == set(points)
    assert sum(1 for rate in points if all(epochs[rate, n] <= 1 for n in range(1, 5))) >= told


@pytest.mark.long
def test_a_killed_random_search_draws_what_it_would_have_drawn(sweeps):
    search = {"algorithm": "random", "num_samples": 6, "max_concurrent": 2, "seed": 7}
    config = {"diary": str(sweeps.folder / "calm.diary"), "seconds": 0}
    sweeps.finish(sweeps.start(sweeps.spec("calm", search=search, epochs=1, config=config), "calm"), "calm")
    killed_and_continued(sweeps, sweeps.spec("random", search=search), "random", after_trials=2)
    drawn = [sorted(child.data.params["lr"] for child in sweeps.children(job_id)) for job_id in ("calm", "random")]
    assert len(set(drawn[0])) == 6
    assert drawn[0] == drawn[1]


@pytest.mark.long
def test_workers_are_let_go_as_the_last_trials_end(sweeps):
    spec = sweeps.spec(
        "narrow",
        config={"diary": str(sweeps.folder / "narrow.diary"), "lr": 0.01},
        space={"seconds": {"type": "grid", "values": [1, 4, 7, 10]}},
        search={"algorithm": "random", "num_samples": 1, "max_concurrent": 4},
        epochs=2,
    )
    with contextlib.redirect_stdout(sys.stderr):
        ray.init(address=sweeps.cluster.address, log_to_driver=False)
    try:
        process, held = sweeps.start(spec, "narrow"), []
        while process.poll() is None:
            held.append(4 - int(ray.available_resources().get("CPU", 0)))
            time.sleep(0.2)
    finally:
        ray.shutdown()
    assert process.returncode == 0, sweeps.log("narrow", 1)
    falling = held[held.index(4) :]
    assert falling == sorted(falling, reverse=True), "what was let go is not taken again"
    assert {3, 2, 1} <= set(falling)
    assert sweeps.report("narrow").num_workers == 1


@pytest.mark.long
def test_a_killed_population_goes_on_with_what_it_has_learnt_of_itself(sweeps):
    search = {"algorithm": "random", "num_samples": 4, "max_concurrent": 4, "seed": 1}
    spec = sweeps.spec("people", search=search, scheduler={"type": "pbt"}, epochs=6)
    process = sweeps.start(spec, "people")
    sweeps.wait_for(lambda: len(sweeps.diary("people")) >= 10 or process.poll(), "10 epochs")
    kill(process)
    before = sweeps.diary("people")
    sweeps.finish(sweeps.start(spec, "people", 2), "people", 2)
    after = sweeps.diary("people")[len(before) :]
    assert min(epoch for _, epoch, _ in after) > 1, "nobody begins anew"
    assert len({trial for trial, _, _ in before + after}) == 4
    children = sweeps.children("people")
    assert [child.info.status for child in children] == ["FINISHED"] * 4
    assert all(sweeps.history(child, "score")[-1][0] == 6 for child in children)
