"""The guards' statistics: what they find, and that looking at them all the time raises no false alarm."""

import math
import random
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_app.domain.guards import (
    CAP,
    DRIFT_CAP,
    Evidence,
    Table,
    begun,
    counts_key,
    log_bound,
    weigh,
    window_evidence,
)
from platform_app.specs import NUM_BINS, ArmCounts, Guards, SplitCounts

ALPHA = 0.05


def drawn(chance, requests, odds_of_a_hit, share, ratio=1.0):
    """Draw a window: each request falls to the candidate with `share`, and is a hit with the odds given."""
    counts = [[0, 0], [0, 0]]
    for _ in range(requests):
        to_candidate = chance.random() < share
        odds = odds_of_a_hit * (ratio if to_candidate else 1)
        counts[to_candidate][chance.random() < odds / (1 + odds)] += 1
    return Table(sum(counts[1]), counts[1][1], sum(counts[0]), counts[0][1])


def alarms(rollouts, windows, tolerance, ratio, seed=0):
    """Count the streams that ever reach the bound, looked at after every window, with traffic that changes."""
    chance, found = random.Random(seed), 0
    for _ in range(rollouts):
        evidence = Evidence("error-rate", tolerance)
        for window in range(windows):
            odds = 0.02 if window % 7 else 0.5  # now and then much fails, for everybody
            share = 0.05 if window < windows // 2 else 0.5
            evidence = evidence.after([[drawn(chance, chance.randint(0, 30), odds, share, ratio)]])
            if evidence.log_value >= math.log(1 / ALPHA):
                found += 1
                break
    return found


@pytest.mark.parametrize(("tolerance", "ratio"), [(1, 1), (1, 0.5), (4, 4)])
def test_a_candidate_that_is_no_worse_than_tolerated_is_condemned_no_more_often_than_stated(tolerance, ratio):
    rollouts = 1000
    # Five standard deviations above the stated rate: chance does not fail this test.
    most = ALPHA * rollouts + 5 * math.sqrt(ALPHA * (1 - ALPHA) * rollouts)
    assert alarms(rollouts, 40, tolerance, ratio) <= most


def test_a_worse_candidate_is_condemned_nearly_always():
    assert alarms(100, 60, tolerance=1, ratio=20) >= 95


tables = st.tuples(st.integers(0, 12), st.integers(0, 12)).flatmap(
    lambda ns: st.builds(Table, st.just(ns[0]), st.integers(0, ns[0]), st.just(ns[1]), st.integers(0, ns[1]))
)


@given(tables, st.sampled_from([1.0, 2.0, 4.0]), st.floats(0.05, 1), st.sampled_from([CAP, DRIFT_CAP]))
def test_a_window_is_a_fair_or_losing_bet_for_every_odds_ratio_up_to_the_tolerated_one(table, tolerance, below, cap):
    hits = table.candidate_hits + table.champion_hits
    possible = range(max(0, hits - table.champion), min(hits, table.candidate) + 1)
    true_odds = tolerance * below
    weights = [math.comb(table.candidate, k) * math.comb(table.champion, hits - k) * true_odds**k for k in possible]
    outcomes = [window_evidence(Table(table.candidate, k, table.champion, hits - k), tolerance, cap) for k in possible]
    for bet in range(3):
        expected = sum(w * math.exp(one[bet]) for w, one in zip(weights, outcomes, strict=True)) / sum(weights)
        assert expected <= 1 + 1e-9


@given(tables)
def test_no_single_window_can_condemn(table):
    assert max(window_evidence(table, 1.0, CAP)) <= CAP < log_bound(Guards())
    assert max(window_evidence(table, 1.0, DRIFT_CAP)) <= DRIFT_CAP < log_bound(Guards())


def test_one_arm_alone_says_nothing():
    assert window_evidence(Table(50, 50, 0, 0), 1.0, CAP) == (0.0, 0.0, 0.0)
    assert window_evidence(Table(50, 50, 50, 50), 1.0, CAP) == (0.0, 0.0, 0.0)


def test_a_guard_that_is_null_is_left_out_and_the_others_share_the_false_alarm_rate():
    assert [one.guard for one in begun(Guards(latency=None))] == ["error-rate", "score-drift"]
    assert log_bound(Guards(latency=None, false_alarm_rate=0.01)) == pytest.approx(math.log(200))


def counted(step, champion, candidate, replica="a"):
    return SplitCounts(replica=replica, step=step, champion=ArmCounts(**champion), candidate=ArmCounts(**candidate))


def spread(chance, requests, weights):
    bins = [0] * NUM_BINS
    for one in chance.choices(range(NUM_BINS), weights, k=requests):
        bins[one] += 1
    return bins


def drift_after(windows, candidate_weights, seed=0):
    chance, evidence = random.Random(seed), begun(Guards(error_rate=None, latency=None))
    champion = accumulate((spread(chance, 40, [1] * NUM_BINS) for _ in range(windows)), add)
    candidate = accumulate((spread(chance, 10, candidate_weights) for _ in range(windows)), add)
    before = {}
    for mine, theirs in zip(champion, candidate, strict=True):
        now = [counted(0, {"bins": mine}, {"bins": theirs})]
        evidence = weigh(evidence, before, now)
        before = {counts_key(one): one for one in now}
    return evidence[0].log_value


def add(one, other):
    return [a + b for a, b in zip(one, other, strict=True)]


def test_predictions_that_moved_into_few_bins_are_drift_and_a_small_shift_is_not():
    bound = log_bound(Guards(error_rate=None, latency=None))
    assert drift_after(30, [1] * NUM_BINS) < 0
    assert drift_after(30, [1.3, *[1] * (NUM_BINS - 1)]) < bound
    assert drift_after(30, [5, *[1] * (NUM_BINS - 1)]) >= bound
    assert drift_after(60, [0, *[1] * (NUM_BINS - 1)]) > 0, "a class that is never predicted any more counts too"


def test_counts_of_several_replicas_and_steps_are_windows_of_their_own():
    evidence = begun(Guards(latency=None, score_drift=None))
    now = [
        counted(0, {"requests": 20}, {"requests": 5, "errors": 5}),
        counted(1, {"requests": 20}, {"requests": 5, "errors": 5}),
        counted(1, {"requests": 20}, {"requests": 5, "errors": 5}, replica="b"),
    ]
    after = weigh(evidence, {}, now)[0].log_value
    assert 2 * CAP < after <= 3 * CAP
    assert weigh(weigh(evidence, {}, now), {counts_key(one): one for one in now}, now)[0].log_value == after
