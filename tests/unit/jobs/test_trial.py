"""What a trial's workers do beside training: they stop together, and keep their own hyperparameters."""

import pytest
import torch

from jobs.peers import TrialStopped
from jobs.trial import TrialHost, keep_hyperparameters
from tests.unit.jobs.tiny import make


class FakeSeat:
    """The second of two workers; what the first says is given."""

    rank = 1

    def __init__(self, said):
        self.said = said

    def max(self, values):
        return [max(self.said, *values)]


def test_another_worker_goes_on_when_the_first_does():
    TrialHost(FakeSeat(said=0.0)).end_epoch({"score": 1.0}, None)


def test_another_worker_stops_when_tune_has_stopped_the_first():
    with pytest.raises(TrialStopped):
        TrialHost(FakeSeat(said=1.0)).end_epoch({"score": 1.0}, None)


@pytest.mark.parametrize(("keeps", "expected"), [(True, 0.5), (False, 0.1)])
def test_another_trials_optimizer_brings_its_hyperparameters_unless_they_are_kept(keeps, expected):
    other, workload = make({"lr": 0.1}), make({"lr": 0.5})
    other.model(other.example_input).sum().backward()
    other.optimizer.step()
    if keeps:
        keep_hyperparameters(workload)
    workload.optimizer.load_state_dict(other.optimizer.state_dict())
    assert workload.optimizer.param_groups[0]["lr"] == expected
    [state] = list(workload.optimizer.state.values())[:1]
    assert torch.equal(state["step"], torch.tensor(1.0)), "the momenta are the other's"
