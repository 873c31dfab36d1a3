"""What the driver makes of its workers' pulse."""

import pytest

from jobs.attempt import Attempt
from jobs.follower import SETTLE_SECONDS, Follower, interruption
from jobs.pulse import Pulse, PulseWriter, is_asked_to_leave, read_pulse
from jobs.report import ReportFile
from tests.unit.jobs import tiny


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


class Run:
    """A driver's follower, and workers that tell it what a test says."""

    def __init__(self, folder):
        self.attempt = Attempt(spec=tiny.spec(), job_id="j", number=1, storage=str(folder), tracking_uri="")
        self.clock = Clock()
        self.size = 2
        self.follower = Follower(self.attempt, lambda now: self.size, self.clock)

    def starts(self, generation, resumed_from, num_workers=2):
        self.follower.begin(generation)
        first = {"resumed_from": resumed_from, "step": resumed_from, "total_steps": 100, "at": self.clock.now}
        pulse = Pulse(generation=generation, num_workers=num_workers, **first)
        self.writer = PulseWriter(self.attempt.run_dir, pulse, self.clock)

    def steps(self, step, seconds=1.0):
        self.clock.now += seconds
        self.writer.stepped(step)
        self.writer.write()
        self.follower.look()

    def report(self):
        return ReportFile(self.attempt.report_path).read()


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path)


def test_progress_and_size_are_passed_on(run):
    run.starts("g1", 0)
    run.steps(7)
    report = run.report()
    assert (report.progress.done, report.progress.total, report.num_workers) == (7, 100, 2)
    assert report.interruptions == ()


def test_a_lost_worker_costs_the_steps_since_the_checkpoint_and_the_wait(run):
    run.starts("g1", 0)
    for step in range(1, 26):
        run.steps(step)
    run.follower.end("worker-lost")
    run.clock.now += 20
    run.starts("g2", 20, num_workers=1)
    run.steps(21)
    [cost] = run.report().interruptions
    assert (cost.cause, cost.steps_lost, cost.num_workers, cost.seconds) == ("worker-lost", 5, 1, 21.0)
    assert (cost.step, cost.lost_seconds) == (25, 5.0)
    # Five steps of a second on two GPUs, and the wait on one.
    assert cost.gpu_seconds_lost == 5 * 1.0 * 2 + 21
    progress = run.report().progress
    assert (progress.at - progress.began_at).total_seconds() == 24 + 21


def test_workers_that_left_at_a_notice_lose_no_step(run):
    run.starts("g1", 0)
    run.steps(25)
    assert run.follower.end() is None
    run.starts("g2", 25)
    run.steps(26)
    [cost] = run.report().interruptions
    assert (cost.cause, cost.steps_lost) == ("notice", 0)


def test_a_generation_that_takes_no_step_is_part_of_the_interruption_before(run):
    run.starts("g1", 0)
    run.steps(25)
    run.follower.end("worker-lost")
    run.starts("g2", 20)
    run.writer.write()
    run.follower.end("worker-lost")
    run.starts("g3", 20)
    run.steps(21)
    [cost] = run.report().interruptions
    assert cost.steps_lost == 5


def test_the_next_attempt_accounts_for_a_driver_that_was_lost(run):
    run.starts("g1", 0)
    run.steps(25)
    run.follower = Follower(run.attempt, lambda now: now, run.clock)
    run.starts("g2", 20)
    run.steps(21)
    [cost] = run.report().interruptions
    assert (cost.cause, cost.steps_lost) == ("driver-lost", 5)


def test_another_size_is_asked_for_once_it_has_lasted(run):
    run.starts("g1", 0)
    run.steps(1)
    run.size = 3
    run.steps(2)
    assert not is_asked_to_leave(run.attempt.run_dir, "g1")
    run.steps(3, seconds=SETTLE_SECONDS)
    assert is_asked_to_leave(run.attempt.run_dir, "g1")
    assert run.follower.end() == 3
    run.starts("g2", 3, num_workers=3)
    assert not is_asked_to_leave(run.attempt.run_dir, "g2")
    run.steps(4)
    assert run.report().interruptions[0].cause == "resize"


def test_a_size_that_comes_and_goes_is_not_asked_for(run):
    run.starts("g1", 0)
    for step in range(1, 40):
        run.size = 2 + step % 2
        run.steps(step)
    assert not is_asked_to_leave(run.attempt.run_dir, "g1")


def test_warnings_of_all_generations_are_kept(run):
    run.starts("g1", 0)
    run.writer.warn("the disk is full")
    run.steps(1)
    run.follower.end("worker-lost")
    run.starts("g2", 0)
    run.writer.warn("it still is")
    run.steps(1)
    assert run.report().warnings == ("the disk is full", "it still is")


def test_what_a_worker_of_an_earlier_generation_still_says_is_not_heard(run):
    run.starts("g1", 0)
    earlier = run.writer
    run.starts("g2", 0)
    earlier.stepped(50)
    earlier.write()
    run.follower.look()
    assert run.report() is None
    assert read_pulse(run.attempt.run_dir).step == 50


def test_without_a_step_between_two_a_step_has_no_length():
    pulse = Pulse(generation="g", num_workers=2, resumed_from=0, total_steps=9, step=1, at=5.0, first_at=5.0)
    assert interruption(pulse, pulse, "notice", 1).gpu_seconds_lost == 0
