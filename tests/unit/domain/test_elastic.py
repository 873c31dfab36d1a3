"""Sizes of elastic runs: their min always, more where nobody waits, and at rest at once."""

from datetime import UTC, datetime, timedelta

from hypothesis import example, given
from hypothesis import strategies as st

from platform_app.domain import elastic
from platform_app.domain.admission import Verdict, decide
from platform_app.domain.capacity import Share, size, trimmed
from platform_app.domain.holdings import occupied
from platform_app.domain.job import Job
from platform_app.specs import SweepSpec, TrainSpec, load_catalog

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CATALOG = load_catalog()
TIERS = [tier.name for tier in CATALOG.tiers]


def job(number, num_workers, tier="development", granted=None, **resources):
    spec = TrainSpec(name="j", workload="a:b", tier=tier, resources={"num_workers": num_workers, **resources})
    queued = Job(id=f"j-{number:06}", spec=spec, created_at=NOW + timedelta(seconds=number))
    return queued.admitted(queued.created_at, granted) if granted else queued


def grants(*given):
    return {job_id: size(placement) for job_id, placement in elastic.grants(*given).items()}


def test_a_run_alone_grows_to_its_max():
    assert grants([job(1, (1, 4), granted=1)], [], CATALOG) == {"j-000001": 4}


def test_a_run_whose_max_is_more_than_there_is_gets_what_there_is():
    assert grants([job(1, (1, 50), granted=1)], [], CATALOG) == {"j-000001": 6}


def test_two_runs_share_what_there_is_and_stay_so():
    running = [job(1, (1, 6), granted=5), job(2, (1, 6), granted=1)]
    sizes = grants(running, [], CATALOG)
    assert sizes == {"j-000001": 3, "j-000002": 3}
    assert grants([one.granted(sizes[one.id]) for one in running], [], CATALOG) == sizes


def test_an_elastic_run_gets_the_worker_that_a_fixed_one_leaves():
    fixed = job(1, 1, market="on-demand").admitted(NOW)
    elastic = job(2, (1, 2), market="on-demand")
    assert size(decide([elastic], [fixed], CATALOG)[0].placement) == 1
    assert grants([fixed, elastic.admitted(NOW, 1)], [], CATALOG) == {"j-000002": 1}


def test_a_run_that_starts_beside_another_takes_what_is_left_and_both_are_at_rest():
    running = [job(1, (1, 2), granted=2, market="on-demand")]
    waiting = job(2, (1, 2), market="on-demand")
    sizes = grants(running, [waiting], CATALOG)
    assert sizes == {"j-000001": 1}
    running = [running[0].granted(1), waiting.admitted(waiting.created_at, 1)]
    assert grants(running, [], CATALOG) == {"j-000001": 1, "j-000002": 1}


def test_workers_of_another_market_that_stand_idle_change_no_size():
    running = [job(1, (1, 6), granted=4, market="spot")]
    assert grants(running, [], CATALOG) == {"j-000001": 4}, "the spot group has four, whatever is on-demand"


def test_a_waiting_job_gets_room_from_runs_of_its_tier_but_never_their_min():
    running = [job(1, (2, 6), granted=6)]
    assert grants(running, [job(2, 3)], CATALOG) == {"j-000001": 3}
    assert grants(running, [job(2, 5)], CATALOG) == {"j-000001": 6}


def test_a_waiting_job_of_a_lower_tier_takes_nothing():
    running = [job(1, (1, 6), "training-critical", granted=6)]
    assert grants(running, [job(2, 1)], CATALOG) == {"j-000001": 6}


def test_runs_with_a_fixed_size_and_sweeps_are_left_alone():
    assert grants([job(1, 2, granted=2)], [], CATALOG) == {}


def test_a_run_grows_into_what_a_sweep_has_let_go():
    spec = SweepSpec(
        kind="sweep",
        name="s",
        workload="a:b",
        space={"lr": {"type": "uniform", "low": 0, "high": 1}},
        resources={"num_workers": 2},
        search={"max_concurrent": 2},
    )
    sweep = Job(id="s-000001", spec=spec, created_at=NOW).admitted(NOW)
    running = [sweep, job(2, (1, 6), granted=2)]
    assert grants(running, [], CATALOG) == {"j-000002": 2}
    assert grants(running, [], CATALOG, {"s-000001": 2}) == {"j-000002": 4}
    waiting = job(3, 2)
    assert decide([waiting], running, CATALOG)[0].placement is None
    assert decide([waiting], running, CATALOG, {"s-000001": 2})[0].placement is not None


def test_a_run_that_shrinks_holds_what_it_had_until_it_has_shrunk():
    running = [job(1, (1, 6), granted=3)]
    waiting = job(2, 3)
    assert decide([waiting], running, CATALOG, {"j-000001": 6})[0].placement is None
    assert decide([waiting], running, CATALOG, {"j-000001": 3})[0].placement is not None


runs = st.lists(
    st.tuples(st.integers(1, 3), st.integers(0, 5), st.sampled_from(TIERS), st.sampled_from([0.5, 1.0])), max_size=6
)


@given(runs, runs)
@example(
    [(1, 0, "production-serving", 0.5)] * 2 + [(1, 1, "production-serving", 1.0), (3, 0, "production-serving", 0.5)],
    [(1, 0, "production-serving", 0.5), (1, 0, "production-serving", 1.0)],
)
def test_sizes_fit_together_keep_every_min_and_are_at_rest(started, queued):
    running = []
    for number, (low, more, tier, gpus) in enumerate(started):
        one = job(number, (low, low + more), tier, gpus_per_worker=gpus)
        if placement := decide([one], running, CATALOG)[0].placement:
            running.append(one.admitted(one.created_at, low, trimmed(placement, low)))
    waiting = [
        job(100 + number, (low, low + more), tier, gpus_per_worker=gpus)
        for number, (low, more, tier, gpus) in enumerate(queued)
    ]
    wanted = elastic.grants(running, waiting, CATALOG)
    resized = [one.granted(size(wanted[one.id]), wanted[one.id]) if one.id in wanted else one for one in running]
    for one in resized:
        workers = one.spec.resources
        assert workers.min_workers <= size(wanted.get(one.id, one.attempt.placement)) <= workers.max_workers
    used = occupied(resized, CATALOG, {})
    assert all(used.get(group.name, 0) <= group.max_workers + 1e-6 for group in CATALOG.worker_groups)
    assert elastic.grants(resized, waiting, CATALOG) == wanted


def test_a_run_keeps_of_each_group_what_it_should_have_and_gives_up_the_rest_last():
    held = (Share("spot", 2, 1.0), Share("od", 2, 1.0))
    keeps, rest = elastic.parted(held, (Share("spot", 2, 1.0), Share("od", 1, 0.5), Share("spot", 3, 1.5)))
    assert (keeps, rest) == ((Share("spot", 2, 1.0), Share("od", 1, 0.5)), (Share("od", 1, 0.5),))


def test_a_run_makes_room_on_the_group_that_a_waiting_job_needs_and_nobody_has_to_go():
    """It may have more workers than it has, of another group: their number alone would leave it where it is."""
    running = job(1, (1, 6), granted=2).granted(2, (Share("gpu-ondemand", 2, 2.0),))
    waiting = job(2, 1, "training-critical", market="on-demand")
    assert grants([running], [waiting], CATALOG) == {"j-000001": 5}
    (decision,) = decide([waiting], [running], CATALOG)
    assert (decision.verdict, decision.victims) == (Verdict.ROOM_IS_MADE, ())


def test_a_run_does_not_start_on_workers_that_it_would_give_up_at_once():
    first, second = decide([job(1, (1, 6)), job(2, 4)], [], CATALOG)
    assert (size(first.placement), size(second.placement)) == (2, 4)
