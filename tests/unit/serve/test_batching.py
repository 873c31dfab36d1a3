"""Requests that wait at the same time share a call of the model, and none suffers for another."""

import asyncio
import threading

import numpy as np
import pytest

from platform_app.specs import BatchingSpec
from serve.batching import Batcher, Overdue


class Model:
    """Doubles what it gets; refuses negative numbers; keeps the size of each call."""

    def __init__(self):
        self.calls = []
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, inputs):
        self.gate.wait(10)
        self.calls.append(len(inputs["x"]))
        if (inputs["x"] < 0).any():
            raise ValueError("negative")
        return {"y": inputs["x"] * 2}


def rows(*values, dtype="f4"):
    return {"x": np.array([[value] for value in values], dtype)}


def ask_all(model, *asked, by_rows=True, seconds=0.0, **batching):
    async def together():
        batcher = Batcher(model, BatchingSpec(**batching), by_rows, 60, seconds)
        try:
            return await asyncio.gather(*(batcher.predict(one) for one in asked), return_exceptions=True)
        finally:
            batcher.close()

    return asyncio.run(together())


def test_those_who_wait_together_share_a_call_and_get_their_own_rows():
    model = Model()
    answers = ask_all(model, rows(1), rows(2, 3), rows(4))
    assert model.calls == [4]
    assert [answer["y"].ravel().tolist() for answer in answers] == [[2], [4, 6], [8]]


def test_a_call_takes_no_more_rows_than_are_allowed_but_a_large_request_is_a_call_of_its_own():
    model = Model()
    ask_all(model, rows(1), rows(2), rows(3), rows(*range(9)), max_rows=2)
    assert model.calls == [2, 1, 9]


def test_only_requests_of_one_kind_share_a_call():
    model = Model()
    ask_all(model, rows(1), rows(2, dtype="f8"), rows(3, dtype="f8"))
    assert model.calls == [1, 2]


def test_a_model_whose_first_dimension_is_no_row_is_called_for_each():
    model = Model()
    ask_all(model, rows(1), rows(2), by_rows=False)
    assert model.calls == [1, 1]


def test_one_that_fails_does_not_fail_the_others():
    model = Model()
    good, bad, other = ask_all(model, rows(1), rows(-1), rows(3))
    assert good["y"].tolist() == [[2]]
    assert other["y"].tolist() == [[6]]
    assert isinstance(bad, ValueError)


def test_a_model_that_gives_another_number_of_rows_is_asked_for_each_alone():
    sums = []

    def total(inputs):
        sums.append(len(inputs["x"]))
        return {"y": inputs["x"].sum(keepdims=True)}

    answers = ask_all(total, rows(1), rows(2, 3))
    assert sums == [2 + 1, 1, 2]
    assert [answer["y"].tolist() for answer in answers] == [[[1]], [[5]]]


@pytest.mark.parametrize("wait_ms", [0, 1])
def test_what_comes_while_a_slow_model_is_busy_is_the_next_batch(wait_ms):
    model = Model()
    model.gate.clear()

    async def scenario():
        batcher = Batcher(model, BatchingSpec(wait_ms=wait_ms), by_rows=True, timeout=60, seconds=1.0)
        first = asyncio.create_task(batcher.predict(rows(0)))
        await asyncio.sleep(0.05)
        others = [asyncio.create_task(batcher.predict(rows(value))) for value in (1, 2, 3)]
        await asyncio.sleep(0)
        model.gate.set()
        answers = await asyncio.gather(first, *others)
        batcher.close()
        return answers

    answers = asyncio.run(scenario())
    assert model.calls == [1, 3]
    assert [answer["y"].item() for answer in answers] == [0, 2, 4, 6]


def test_whoever_went_away_is_not_computed():
    model = Model()

    async def scenario():
        batcher = Batcher(model, BatchingSpec(), by_rows=True, timeout=60)
        gone = asyncio.create_task(batcher.predict(rows(1)))
        stays = asyncio.create_task(batcher.predict(rows(2)))
        asyncio.get_running_loop().call_soon(gone.cancel)
        answer = await stays
        batcher.close()
        return answer

    assert asyncio.run(scenario())["y"].item() == 4
    assert sum(model.calls) <= 2


def test_whoever_waits_too_long_is_told_so_one_after_the_other_and_the_next_is_answered():
    model = Model()
    model.gate.clear()

    async def scenario():
        batcher = Batcher(model, BatchingSpec(), by_rows=True, timeout=0.05, seconds=1.0)
        for value in (1, 2):  # the first is in the call, the second comes when nobody waits any more
            with pytest.raises(Overdue):
                await batcher.predict(rows(value))
        model.gate.set()
        answer = await batcher.predict(rows(3))
        batcher.close()
        return answer

    assert asyncio.run(scenario())["y"].item() == 6
    assert model.calls == [1, 1], "who gave up while waiting is not computed"
