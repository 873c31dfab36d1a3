"""How workers come to save and leave after the same step."""

import torch

from jobs.agreement import INTERVAL_SECONDS, Agreement, Wish
from jobs.seat import Seat
from platform_app.specs import Checkpointing


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Alone:
    """One worker, whose steps take as long as is said."""

    def __init__(self, **checkpointing):
        self.clock = Clock()
        self.asked_at = []
        self.wishes = Wish.NOTHING
        seat = Seat(torch.device("cpu"))
        self.agreement = Agreement(seat, Checkpointing(**checkpointing), self.wish, self.clock)

    def wish(self):
        self.asked_at.append(self.clock.now)
        return self.wishes

    def steps(self, count, seconds):
        decided = []
        for step in range(1, count + 1):
            self.clock.now += seconds
            decided.append(self.agreement.at(step))
        return decided


def test_a_run_of_short_steps_asks_a_few_times_a_second():
    run = Alone()
    run.steps(10_000, seconds=0.001)
    assert 1 / INTERVAL_SECONDS <= len(run.asked_at) / 10 <= 2 / INTERVAL_SECONDS


def test_a_run_of_long_steps_asks_at_each():
    run = Alone()
    run.steps(20, seconds=1.0)
    assert len(run.asked_at) == 20


def test_a_wish_to_leave_is_heard_within_the_interval():
    run = Alone()
    run.steps(1000, seconds=0.001)
    run.wishes = Wish.LEAVE
    assert Wish.LEAVE in run.steps(int(INTERVAL_SECONDS / 0.001) + 1, seconds=0.001)


def test_every_so_many_steps_a_checkpoint_is_due_without_asking():
    run = Alone(every_steps=4)
    assert [i for i, wish in enumerate(run.steps(12, seconds=0.001), 1) if wish is Wish.SAVE] == [4, 8, 12]


def test_every_so_many_seconds_a_checkpoint_is_due():
    run = Alone(every_seconds=3)
    assert [i for i, wish in enumerate(run.steps(9, seconds=1.0), 1) if wish is Wish.SAVE] == [3, 6, 9]


def test_a_wish_to_leave_is_heard_at_the_first_batch_of_an_evaluation_whose_batches_take_longer_than_steps():
    run = Alone()
    run.steps(1000, seconds=0.001)
    run.wishes = Wish.LEAVE
    run.agreement.begins()
    run.clock.now += 5.0
    assert run.agreement.is_leaving()


def test_in_an_evaluation_a_checkpoint_that_is_due_waits_for_the_next_step():
    run = Alone(every_seconds=3)
    run.agreement.begins()
    run.clock.now += 10.0
    assert not run.agreement.is_leaving()
    run.agreement.begins()
    assert run.steps(1, seconds=1.0) == [Wish.SAVE]
