"""What a trial is charged for."""

import pytest
from ray.exceptions import RayActorError, RayTaskError
from ray.tune.experiment import Trial

from jobs.failure import MAX_LOSSES_WITHOUT_PROGRESS
from jobs.losses import spare_lost_workers


@pytest.fixture(autouse=True)
def _spared(monkeypatch):
    monkeypatch.setattr(Trial, "_handle_ray_actor_error", Trial._handle_ray_actor_error)  # put back afterwards
    spare_lost_workers()


class TrialOfNoFolder(Trial):
    """Writes no errors down, which takes a Ray session."""

    local_path = None

    def __init__(self, max_failures: int) -> None:
        super().__init__("trial", stub=True, max_failures=max_failures)


def own_error() -> RayTaskError:
    return RayTaskError("trial", "Traceback", ValueError("too big"))


def test_lost_workers_do_not_eat_the_budget_of_a_trials_own_errors():
    trial = TrialOfNoFolder(max_failures=1)
    for _ in range(MAX_LOSSES_WITHOUT_PROGRESS):
        trial.handle_error(RayActorError())
    assert trial.should_recover()
    trial.handle_error(own_error())
    assert trial.should_recover()
    trial.handle_error(own_error())
    assert not trial.should_recover()


def test_a_trial_that_loses_its_workers_again_and_again_without_an_epoch_fails():
    trial = TrialOfNoFolder(max_failures=5)
    for _ in range(MAX_LOSSES_WITHOUT_PROGRESS + 1):
        trial.handle_error(RayActorError())
    assert not trial.should_recover()


def test_an_epoch_in_between_begins_the_count_anew():
    trial = TrialOfNoFolder(max_failures=0)
    for epoch in range(3 * MAX_LOSSES_WITHOUT_PROGRESS):
        trial.run_metadata.last_result = {"epoch": epoch // 2}
        trial.handle_error(RayActorError())
    assert trial.should_recover()


def test_a_trial_whose_other_worker_was_lost_is_spared_too():
    trial = TrialOfNoFolder(max_failures=0)
    trial.handle_error(RayTaskError("trial", "Traceback", RayActorError()))
    assert trial.should_recover()
