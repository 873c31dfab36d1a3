"""What fits where, and what is refused with which words."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_app.domain.capacity import demand, eligible, impossible, place, price_per_hour, slots_per_worker
from platform_app.specs import Catalog, Market, SweepSpec, Tier, TrainSpec, WorkerGroup, load_catalog

CATALOG = load_catalog()


def train(**resources):
    return TrainSpec(name="a", workload="a:b", batch_size=1024, resources=resources)


def sweep(max_concurrent=4, num_samples=8, **resources):
    return SweepSpec(
        kind="sweep",
        name="a",
        workload="a:b",
        space={"lr": {"type": "uniform", "low": 0, "high": 1}},
        search={"max_concurrent": max_concurrent, "num_samples": num_samples},
        resources=resources,
    )


def test_spot_is_taken_first_and_on_demand_when_spot_is_full():
    placement = place(demand(train(num_workers=3)), CATALOG, {"gpu-spot": 2})
    assert {s.group: s.training_workers for s in placement} == {"gpu-spot": 2, "gpu-ondemand": 1}


def test_two_half_gpu_trials_share_a_worker():
    (share,) = place(demand(sweep(max_concurrent=4, gpus_per_worker=0.5)), CATALOG, {})
    assert (share.group, share.training_workers, share.cluster_workers) == ("gpu-spot", 4, 2.0)


def test_a_sweep_starts_with_room_for_one_trial():
    placement = place(demand(sweep(max_concurrent=8)), CATALOG, {"gpu-spot": 4, "gpu-ondemand": 1})
    assert [(s.group, s.training_workers) for s in placement] == [("gpu-ondemand", 1)]


def test_a_sweep_is_charged_for_all_workers_of_as_many_trials_as_fit():
    need = demand(sweep(max_concurrent=4, num_workers=2))
    assert (need.at_least, need.at_most) == (2, 8)
    placement = place(need, CATALOG, {"gpu-ondemand": 1})
    assert {s.group: s.training_workers for s in placement} == {"gpu-spot": 4}, "half a trial runs nowhere"


def test_a_trial_waits_for_all_of_its_workers():
    assert place(demand(sweep(num_workers=2)), CATALOG, {"gpu-spot": 4, "gpu-ondemand": 1}) is None


def test_a_trial_that_is_too_big_for_the_cluster_is_refused():
    (problem,) = impossible(sweep(num_workers=7), CATALOG)
    assert (problem.field, problem.message[-5:]) == ("resources.num_workers", "got 7")


def test_a_training_run_waits_for_all_of_its_workers():
    assert place(demand(train(num_workers=2)), CATALOG, {"gpu-spot": 4, "gpu-ondemand": 1}) is None


def test_work_without_gpus_stays_off_gpu_workers():
    assert [group.name for group in eligible(CATALOG, train(gpus_per_worker=0).resources)] == ["cpu"]


def test_a_price_is_that_of_the_workers_it_occupies():
    placement = place(demand(sweep(max_concurrent=2, gpus_per_worker=0.5)), CATALOG, {})
    assert price_per_hour(placement, CATALOG) == pytest.approx(0.36)


@pytest.mark.parametrize(
    ("resources", "field", "words"),
    [
        ({"num_workers": 7}, "resources.num_workers", "at most 6 such workers"),
        ({"gpus_per_worker": 2}, "resources.gpus_per_worker", "the largest worker has 1 GPUs"),
        ({"cpus_per_worker": 64}, "resources.cpus_per_worker", "the largest worker has 4 CPUs"),
        ({"accelerator_type": "H100"}, "resources.accelerator_type", "gpu-spot: has A10G"),
        ({"market": "spot", "gpus_per_worker": 0}, "resources.market", "cpu: is not spot"),
    ],
)
def test_what_can_never_fit_is_refused_by_field_with_the_nearest_that_would(resources, field, words):
    (problem,) = impossible(train(**resources), CATALOG)
    assert problem.field == field
    assert words in problem.message


def test_what_fits_an_empty_cluster_is_not_refused():
    assert impossible(train(num_workers=6), CATALOG) == ()


groups = st.builds(
    WorkerGroup,
    name=st.from_regex(r"[a-z]{1,8}", fullmatch=True),
    market=st.sampled_from(Market),
    accelerator_type=st.sampled_from([None, "A", "B"]),
    cpus=st.integers(1, 16),
    gpus=st.integers(0, 4),
    memory_gib=st.just(1.0),
    max_workers=st.integers(1, 5),
    price_per_hour=st.floats(0, 10),
    priority=st.integers(0, 9),
)
catalogs = st.builds(
    Catalog,
    worker_groups=st.lists(groups, min_size=1, max_size=4, unique_by=lambda g: g.name).map(tuple),
    tiers=st.just((Tier(name="development", priority=100),)),
)
specs = st.builds(
    lambda workers, gpus, cpus, market: train(
        num_workers=workers, gpus_per_worker=gpus, cpus_per_worker=cpus, market=market
    ),
    st.integers(1, 12),
    st.sampled_from([0, 0.25, 1 / 3, 0.5, 1, 2]),
    st.sampled_from([0.5, 1, 2, 8]),
    st.sampled_from(["prefer-spot", "spot", "on-demand"]),
)


@given(catalogs, specs, st.data())
def test_a_placement_never_takes_more_than_is_free_and_gives_what_was_asked_wherever_there_is_room(catalog, spec, data):
    used = {g.name: data.draw(st.floats(0, g.max_workers)) for g in catalog.worker_groups}
    placement = place(demand(spec), catalog, used)
    by_name = {group.name: group for group in catalog.worker_groups}
    if placement is None:
        workers, groups = spec.resources, eligible(catalog, spec.resources)
        fit = (slots_per_worker(group, workers) * (group.max_workers - used[group.name]) for group in groups)
        assert sum(math.floor(slots + 1e-6) for slots in fit) < workers.num_workers
        return
    assert sum(share.training_workers for share in placement) == spec.resources.num_workers
    for share in placement:
        group = by_name[share.group]
        assert used[group.name] + share.cluster_workers <= group.max_workers + 1e-6
        assert share.cluster_workers * slots_per_worker(group, spec.resources) == pytest.approx(share.training_workers)


@given(catalogs, specs)
def test_every_job_is_either_placed_on_the_empty_cluster_or_refused_with_a_field(catalog, spec):
    problems = impossible(spec, catalog)
    assert bool(problems) == (place(demand(spec), catalog, {}) is None)
    assert all(problem.field.startswith("resources.") and problem.message for problem in problems)
