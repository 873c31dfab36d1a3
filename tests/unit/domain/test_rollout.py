"""What follows in a rollout from what is seen."""

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_app.domain.job import IllegalTransition
from platform_app.domain.rollout import (
    TRANSITIONS,
    Examined,
    Look,
    Phase,
    Scores,
    advanced,
    begin,
    examined,
    held,
    numbers,
)
from platform_app.specs import NUM_BINS, ArmCounts, Evaluation, Guards, RolloutSpec, SplitCounts, Step, Strategy

NOW = datetime(2026, 5, 4, tzinfo=UTC)
SPEC = RolloutSpec(
    strategy=Strategy.CANARY,
    steps=(Step(weight=10, hold_seconds=10, min_requests=20), Step(weight=50, hold_seconds=10, min_requests=20)),
)
EXAMINED = SPEC.model_copy(update={"guards": Guards(evaluation=Evaluation(dataset="digits-test"))})


def later(seconds=0.0):
    return NOW + timedelta(seconds=seconds)


def in_phase(phase, spec=SPEC, **fields):
    return replace(begin(2, 5, (4, 1), spec, NOW), phase=phase, step_started_at=NOW, **fields)


def counted(step, requests, errors=0, champion=1000, replica="a"):
    arm = ArmCounts(requests=requests, errors=errors, timed=requests)
    return SplitCounts(replica=replica, step=step, champion=ArmCounts(requests=champion, timed=champion), candidate=arm)


@pytest.mark.parametrize(
    ("phase", "spec", "look", "follows"),
    [
        (Phase.STARTING, SPEC, Look(NOW), Phase.STARTING),
        (Phase.STARTING, SPEC, Look(NOW, candidate_ready=True), Phase.RUNNING),
        (Phase.STARTING, EXAMINED, Look(NOW, candidate_ready=True), Phase.EVALUATING),
        (Phase.STARTING, SPEC, Look(NOW, candidate_failed=True, message="no torch"), Phase.ROLLING_BACK),
        (Phase.STARTING, SPEC, Look(later(1801)), Phase.ROLLING_BACK),
        (Phase.EVALUATING, EXAMINED, Look(NOW), Phase.EVALUATING),
        (
            Phase.EVALUATING,
            EXAMINED,
            Look(NOW, examined=Examined(True, "")),
            Phase.RUNNING,
        ),
        (
            Phase.EVALUATING,
            EXAMINED,
            Look(NOW, examined=Examined(False, "")),
            Phase.ROLLING_BACK,
        ),
        (Phase.PROMOTING, SPEC, Look(NOW, stable_ready=True), Phase.PROMOTING),
        (Phase.PROMOTING, SPEC, Look(NOW, aliases_right=True), Phase.PROMOTING),
        (Phase.PROMOTING, SPEC, Look(NOW, stable_ready=True, aliases_right=True), Phase.SETTLING),
        (Phase.PROMOTING, SPEC, Look(NOW, stable_failed=True), Phase.ROLLING_BACK),
        (Phase.SETTLING, SPEC, Look(NOW), Phase.SETTLING),
        (Phase.SETTLING, SPEC, Look(NOW, stable_ready=True), Phase.SUCCEEDED),
        (Phase.ROLLING_BACK, SPEC, Look(NOW, stable_ready=True), Phase.ROLLING_BACK),
        (Phase.ROLLING_BACK, SPEC, Look(NOW, stable_ready=True, aliases_right=True), Phase.ROLLED_BACK),
        (Phase.SUCCEEDED, SPEC, Look(NOW, stable_failed=True), Phase.SUCCEEDED),
    ],
)
def test_what_follows_from_a_look(phase, spec, look, follows):
    assert advanced(in_phase(phase, spec), spec, look).phase is follows


def test_an_illegal_transition_raises():
    with pytest.raises(IllegalTransition, match="SUCCEEDED -> RUNNING"):
        in_phase(Phase.SUCCEEDED).moved(Phase.RUNNING, NOW)


def test_every_phase_that_is_not_over_has_a_way_back():
    for phase in Phase:
        assert phase.is_over or phase is Phase.ROLLING_BACK or Phase.ROLLING_BACK in TRANSITIONS[phase]


def test_a_step_lasts_until_both_its_time_and_its_requests_are_over():
    rollout = in_phase(Phase.RUNNING)
    waits = advanced(rollout, SPEC, Look(later(60), counts=(counted(0, 19),)))
    assert (waits.phase, waits.step) == (Phase.RUNNING, 0)
    assert held(waits, SPEC.steps[0], later(60)) == pytest.approx(19 / 20)
    early = advanced(rollout, SPEC, Look(later(9), counts=(counted(0, 20),)))
    assert early.step == 0
    on = advanced(early, SPEC, Look(later(10), counts=(counted(0, 20),)))
    assert (on.phase, on.step, on.step_started_at) == (Phase.RUNNING, 1, later(10))
    still = advanced(on, SPEC, Look(later(25), counts=(counted(0, 50),)))
    assert still.step == 1, "requests of an earlier step do not count"
    done = advanced(still, SPEC, Look(later(25), counts=(counted(1, 20),)))
    assert done.phase is Phase.PROMOTING
    assert done.message == "no guard objects after 70 requests"


def test_a_breach_names_the_guard_with_numbers_and_the_candidate_never_leads():
    rollout = in_phase(Phase.RUNNING)
    for look in range(1, 10):
        rollout = advanced(
            rollout, SPEC, Look(later(look), counts=(counted(0, 10 * look, errors=10 * look, champion=100 * look),))
        )
        if rollout.phase is not Phase.RUNNING:
            break
    assert (rollout.phase, rollout.guard, look) == (Phase.ROLLING_BACK, "error-rate", 3)
    assert rollout.message.startswith(
        "version 5 was rolled back by error-rate: failed: candidate 30 of 30, champion 0 of 300; e-value "
    )


def test_a_breach_comes_before_the_end_of_a_step():
    rollout = in_phase(Phase.RUNNING, step=1)
    broken = tuple(counted(1, 30, errors=30, replica=name) for name in "abcdef")
    assert advanced(rollout, SPEC, Look(later(100), counts=broken)).phase is Phase.ROLLING_BACK


@pytest.mark.parametrize(
    ("mode", "candidate", "champion", "passed"),
    [
        ("max", 0.89, 0.90, True),
        ("max", 0.88, 0.90, False),
        ("min", 1.0, 0.5, False),
        ("min", 0.4, 0.5, True),
        ("max", float("nan"), 0.9, False),
        ("max", None, 0.9, False),
    ],
)
def test_an_examination_allows_its_margin_and_no_more(mode, candidate, champion, passed):
    evaluation = Evaluation(dataset="digits-test", mode=mode, margin=0.0101)
    found = examined(evaluation, Scores(candidate, champion, "" if candidate is not None else "it raised"))
    assert found.passed is passed
    assert found.message == "it raised" if candidate is None else "champion" in found.message


@given(st.lists(st.tuples(st.integers(0, 50), st.booleans(), st.booleans(), st.booleans()), max_size=30))
def test_whatever_is_seen_a_rollout_takes_only_legal_steps_and_ends_once(looks):
    rollout, path = begin(2, 5, (4, 1), EXAMINED, NOW), []
    for number, (requests, ready, failed, aliases) in enumerate(looks):
        look = Look(
            later(number),
            stable_ready=ready,
            stable_failed=failed,
            candidate_ready=ready,
            candidate_failed=failed and not ready,
            examined=examined(Evaluation(dataset="d"), Scores(1, 1)) if ready else None,
            counts=(counted(rollout.step, requests * (number + 1)),),
            aliases_right=aliases,
        )
        following = advanced(rollout, EXAMINED, look)
        assert following.phase is rollout.phase or following.phase in TRANSITIONS[rollout.phase]
        rollout = following
        path.append(rollout.phase)
    assert sum(phase is Phase.PROMOTING for phase in dict.fromkeys(path)) <= 1


def simulated(chance, alpha):
    """Run one rollout of a candidate that is exactly its champion, looked at each second; say whether it passed."""
    steps = (Step(weight=5, hold_seconds=10, min_requests=20), Step(weight=50, hold_seconds=10, min_requests=20))
    spec = RolloutSpec(strategy=Strategy.CANARY, steps=steps, guards=Guards(false_alarm_rate=alpha, latency=1))
    rollout = replace(begin(2, 5, (4, 1), spec, NOW), phase=Phase.RUNNING, step_started_at=NOW)
    totals = {}
    for second in range(1, 200):
        arms = totals.setdefault(rollout.step, ([0] * 4 + [[0] * NUM_BINS], [0] * 4 + [[0] * NUM_BINS]))
        trouble = 0.5 if second % 9 == 0 else 0.02  # now and then much fails and is slow, for everybody
        for _ in range(chance.randint(5, 40)):
            arm = arms[chance.random() < steps[rollout.step].weight / 100]
            arm[0] += 1
            arm[1] += chance.random() < trouble
            arm[2] += 1
            arm[3] += chance.random() < 0.05 + trouble / 2
            arm[4][min(chance.randrange(NUM_BINS), chance.randrange(NUM_BINS))] += 1
        rollout = advanced(rollout, spec, Look(later(second), counts=tuple(map(told, totals, totals.values()))))
        if rollout.phase is not Phase.RUNNING:
            return rollout.phase is Phase.PROMOTING
    raise AssertionError("a rollout with traffic ends")


def told(step, arms):
    champion, candidate = (
        ArmCounts(requests=n, errors=errors, timed=timed, slow=slow, bins=tuple(bins))
        for n, errors, timed, slow, bins in arms
    )
    return SplitCounts(replica="a", step=step, champion=champion, candidate=candidate)


def test_rollouts_of_a_version_against_itself_are_rolled_back_no_more_often_than_stated():
    chance, rollouts, alpha = random.Random(5), 200, 0.05
    alarms = sum(not simulated(chance, alpha) for _ in range(rollouts))
    assert alarms <= alpha * rollouts, f"{alarms} of {rollouts}"


def test_numbers_of_drift_are_those_of_the_bin_that_moved_most():
    candidate = ArmCounts(bins=(5, 5, *[0] * (NUM_BINS - 2)))
    champion = ArmCounts(bins=(10,) * NUM_BINS)
    (drift,) = begin(2, 5, (4, 1), RolloutSpec(guards=Guards(error_rate=None, latency=None)), NOW).evidence
    text = numbers(drift, [SplitCounts(replica="a", step=0, champion=champion, candidate=candidate)])
    assert text.startswith("scores in the bin that moved most: candidate 5 of 10, champion 10 of 100")
