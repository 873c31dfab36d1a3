"""Who answers while a candidate is tried, and what is counted of it, with versions that are a line long and no Ray."""

import asyncio
import random
from http import HTTPStatus

import pytest

from platform_app.specs import Candidate, Split, Strategy
from serve import rollout
from serve.exchange import Answer, Question, Wire
from serve.rollout import Splitter, key_position
from serve.tallies import NUM_BINS, Reference, Tallies, Tally

ASKED = Question(Wire.REST, b"{}")


def version(name, status=HTTPStatus.OK, score=0.0, seconds=0.001):
    async def answer(question):
        return Answer(status, name, seconds=seconds, score=score)

    return answer


async def crash(question):
    raise ConnectionError("the replica died")


async def hang(question):
    await asyncio.sleep(3600)


def split(strategy=Strategy.CANARY, weight=50.0, step=0, revision=2):
    return Split(
        candidate=Candidate(version=7, revision=revision),
        strategy=strategy,
        weight=weight,
        step=step,
        key_header="slipway-key",
    )


class Trial:
    """A splitter between two versions, and what it told."""

    def __init__(self, candidate, champion=None, **fields):
        self.told = {}
        self.here = champion or version(b"champion")
        self.splitter = Splitter(lambda _: candidate, self._tell, random.Random(1))
        self.splitter.reconfigure(split(**fields))

    def _tell(self, revision, tallies):
        self.told = {tally.step: tally.told("here") for tally in tallies}

    async def ask(self, times=1, **headers):
        asked = Question(Wire.REST, b"", headers=tuple((k.encode(), v.encode()) for k, v in headers.items()))
        return [(await self.splitter.answer(asked, self.here)) for _ in range(times)]

    async def counts(self, step=0):
        self.told = {}
        self.splitter._report(2, self.splitter._tallies.values())
        return self.told[step]


def run(test):
    """Run an asynchronous test to its end, with whatever it started."""

    def running(*arguments, **keywords):
        return asyncio.run(test(*arguments, **keywords))

    running.__name__ = test.__name__
    return running


@run
async def test_without_a_split_everything_is_answered_here_and_nothing_is_counted():
    trial = Trial(crash)
    trial.splitter.reconfigure(None)
    assert {one.body for one in await trial.ask(20)} == {b"champion"}
    assert not trial.splitter.is_active
    assert (await trial.counts()).champion.requests == 0


@run
async def test_a_canary_gets_its_share_by_chance():
    trial = Trial(version(b"candidate"), weight=20)
    answers = [one.body for one in await trial.ask(1000)]
    assert 150 < answers.count(b"candidate") < 250
    counts = await trial.counts()
    assert counts.candidate.requests == answers.count(b"candidate")
    assert counts.champion.requests == answers.count(b"champion")
    assert counts.candidate.errors == counts.champion.errors == 0


@run
async def test_each_step_is_counted_apart_and_another_candidate_begins_anew():
    trial = Trial(version(b"candidate"), weight=100)
    await trial.ask(3)
    trial.splitter.reconfigure(split(weight=100, step=1))
    await trial.ask(4)
    assert ((await trial.counts(0)).candidate.requests, (await trial.counts(1)).candidate.requests) == (3, 4)
    trial.splitter.reconfigure(split(revision=3))
    assert (await trial.counts(0)).candidate.requests == 0
    assert 1 not in trial.told


@pytest.mark.parametrize(
    "candidate", [crash, hang, version(b"", HTTPStatus.INTERNAL_SERVER_ERROR), version(b"", HTTPStatus.BAD_REQUEST)]
)
def test_what_the_candidate_fails_or_refuses_the_champion_answers_and_the_candidate_is_blamed(candidate, monkeypatch):
    monkeypatch.setattr(rollout, "_LEAST_PATIENCE", 0.01)

    async def fails():
        trial = Trial(candidate, weight=100)
        answers = await trial.ask(3)
        counts = await trial.counts()
        assert {(one.status, one.body) for one in answers} == {(HTTPStatus.OK, b"champion")}
        assert (counts.candidate.requests, counts.candidate.errors, counts.rescued) == (3, 3, 3)
        assert counts.champion.requests == 0

    asyncio.run(fails())


@run
async def test_what_both_refuse_is_the_clients_fault():
    refusing = version(b"", HTTPStatus.BAD_REQUEST)
    trial = Trial(refusing, champion=refusing, weight=100)
    assert {one.status for one in await trial.ask(3)} == {HTTPStatus.BAD_REQUEST}
    assert (await trial.counts()).candidate.errors == 0


@run
async def test_a_caller_of_an_ab_rollout_stays_with_its_version_and_one_without_a_key_gets_the_champion():
    trial = Trial(version(b"candidate"), strategy=Strategy.AB, weight=30)
    by_key = {key: {one.body for one in await trial.ask(3, **{"slipway-key": key})} for key in map(str, range(300))}
    assert all(len(bodies) == 1 for bodies in by_key.values())
    assert 60 < sum(bodies == {b"candidate"} for bodies in by_key.values()) < 120
    counted = (await trial.counts()).champion.requests
    assert {one.body for one in await trial.ask(50)} == {b"champion"}
    assert (await trial.counts()).champion.requests == counted, "who is in no experiment is not counted"
    assert {key_position(2, key) < 0.3 for key in by_key} == {True, False}
    assert key_position(2, "anna") != key_position(3, "anna"), "another rollout draws anew"


@pytest.mark.parametrize("candidate", [hang, crash, version(b"candidate", score=1.0)])
def test_a_shadow_never_touches_or_delays_an_answer(candidate):
    async def mirrored():
        trial = Trial(candidate, strategy=Strategy.SHADOW, weight=100)
        assert {one.body for one in await asyncio.wait_for(trial.ask(40), 0.9)} == {b"champion"}
        assert len(trial.splitter._mirrored) <= rollout._MOST_MIRRORED

    asyncio.run(mirrored())


@run
async def test_a_shadow_compares_and_leaves_out_what_is_too_much():
    trial = Trial(version(b"candidate", score=1.0), strategy=Strategy.SHADOW, weight=100)
    await trial.ask(10)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    counts = await trial.counts()
    assert (counts.compared, counts.differed, counts.candidate.requests, counts.champion.requests) == (10, 10, 10, 10)
    stuck = Trial(hang, strategy=Strategy.SHADOW, weight=100)
    await stuck.ask(30)
    assert (await stuck.counts()).left_out == 30 - rollout._MOST_MIRRORED


def test_slow_is_what_takes_longer_than_the_champions_95th_percentile_as_of_the_last_refresh():
    reference, tally = Reference(), Tally(0)
    for number in range(100):
        reference.saw(number / 100, None)
    tally.candidate.add(reference, 9.0, None, is_error=False)
    assert tally.candidate.timed == 0, "there was no bound yet"
    reference.refresh()
    for seconds in (0.94, 0.95, 0.96):
        tally.candidate.add(reference, seconds, None, is_error=False)
    assert (tally.candidate.timed, tally.candidate.slow) == (3, 1)


@pytest.mark.parametrize("scores", [[float(n % 3) for n in range(50)], [n / 50 for n in range(50)]])
def test_bins_are_tenths_of_what_the_champion_predicts_and_classes_have_their_own(scores):
    reference = Reference()
    for score in scores:
        reference.saw(0.0, score)
    bins = {reference.bin_of(score) for score in scores}
    assert len(bins) == (3 if max(scores) == 2 else NUM_BINS)
    assert reference.bin_of(None) is None
    assert max(reference.bin_of(1e9), reference.bin_of(float("nan"))) < NUM_BINS


def test_the_actor_keeps_the_newest_totals_of_the_newest_rollout():
    tallies = Tallies()
    assert tallies.get("digits", 2) == []
    tallies.put("digits", 2, [("a", 0, "1"), ("b", 0, "2")])
    tallies.put("digits", 2, [("a", 0, "3"), ("a", 1, "4")])
    assert sorted(tallies.get("digits", 2)) == ["2", "3", "4"]
    tallies.put("digits", 3, [("a", 0, "5")])
    tallies.put("digits", 2, [("a", 0, "late")])
    assert (tallies.get("digits", 3), tallies.get("digits", 2)) == (["5"], [])
