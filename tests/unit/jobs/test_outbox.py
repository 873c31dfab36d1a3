"""The outbox between a training step and MLflow."""

import threading
import time

import pytest

from jobs.outbox import Outbox, Run


class Away(Exception):
    pass


class FakeMlflow:
    """Takes metrics, after it was away for a number of calls; blocks while `gate` is closed."""

    def __init__(self, away_for=0):
        self.away_for = away_for
        self.calls = []
        self.gate = threading.Event()
        self.gate.set()

    def log_batch(self, run_id, metrics):
        self.gate.wait()
        if self.away_for:
            self.away_for -= 1
            raise Away
        self.calls.append((run_id, [(metric.key, metric.value, metric.step) for metric in metrics]))

    @property
    def points(self):
        return [point for _, points in self.calls for point in points]


def outbox(mlflow, **options):
    options = {"longest_wait_seconds": 0.01} | options
    return Outbox(lambda: mlflow, lambda error: isinstance(error, Away), **options)


def test_what_was_logged_while_mlflow_was_away_arrives_whole_and_in_order():
    mlflow = FakeMlflow(away_for=5)
    box = outbox(mlflow)
    for step in range(50):
        box.log(Run("r"), {"loss": step}, step)
    assert box.close(10) == 0
    assert mlflow.points == [("loss", step, step) for step in range(50)]


def test_logging_returns_at_once_while_mlflow_does_not_answer():
    mlflow = FakeMlflow()
    mlflow.gate.clear()
    box = outbox(mlflow)
    started = time.monotonic()
    for step in range(1000):
        box.log(Run("r"), {"loss": 0.0}, step)
    assert time.monotonic() - started < 0.5
    mlflow.gate.set()
    assert box.close(10) == 0


def test_a_call_takes_at_most_a_thousand_metrics():
    mlflow = FakeMlflow()
    mlflow.gate.clear()
    box, run = outbox(mlflow), Run("r")
    for step in range(2500):
        box.log(run, {"loss": 0.0}, step)
    mlflow.gate.set()
    box.close(10)
    assert len(mlflow.points) == 2500
    assert max(len(points) for _, points in mlflow.calls) == 1000


def test_beyond_its_limit_the_oldest_is_dropped_and_counted():
    mlflow = FakeMlflow()
    mlflow.gate.clear()
    box, run = outbox(mlflow, limit=10), Run("r")
    box.log(run, {"loss": 0.0}, 0)
    while box.waiting:  # the first is on its way
        time.sleep(0.001)
    for step in range(1, 16):
        box.log(run, {"loss": 0.0}, step)
    mlflow.gate.set()
    assert box.close(10) == 5
    assert [step for _, _, step in mlflow.points] == [0, *range(6, 16)]


def test_closing_gives_up_at_its_deadline_and_says_what_was_lost():
    box = outbox(FakeMlflow(away_for=10**9))
    box.log(Run("r"), {"a": 1.0, "b": 2.0}, 0)
    assert box.close(0.2) == 2


def test_a_refused_batch_does_not_hold_up_the_next():
    mlflow = FakeMlflow()
    box = outbox(mlflow)

    def refuse(client):
        raise ValueError("no such run")

    box.call(refuse)
    box.log(Run("r"), {"loss": 1.0}, 0)
    assert box.close(10) == 1
    assert mlflow.points == [("loss", 1.0, 0)]


def test_calls_and_metrics_keep_their_order_so_that_a_run_exists_before_its_metrics():
    mlflow, run = FakeMlflow(), Run()
    box = outbox(mlflow)
    box.call(lambda client: setattr(run, "id", "created"))
    box.log(run, {"loss": 1.0}, 0)
    box.log(Run("other"), {"loss": 2.0}, 0)
    box.close(10)
    assert [run_id for run_id, _ in mlflow.calls] == ["created", "other"]


@pytest.mark.parametrize("times", [1, 2])
def test_an_outbox_closes_as_often_as_one_likes(times):
    box = outbox(FakeMlflow())
    assert [box.close(1) for _ in range(times)] == [0] * times
