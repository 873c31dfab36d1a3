"""What stands between a job and its start, and what else could be had: properties over queues and catalogs."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from platform_app.domain.capacity import demand, place, size
from platform_app.domain.job import Job, JobState
from platform_app.domain.supply import options
from platform_app.domain.turn import Room, turn_signs, wait_for_room
from platform_app.specs import TrainSpec, load_catalog

CATALOG = load_catalog()
NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
RESOURCES = st.fixed_dictionaries(
    {"num_workers": st.integers(1, 6), "market": st.sampled_from(["spot", "prefer-spot", "on-demand"])}
).filter(lambda one: one["market"] == "prefer-spot" or one["num_workers"] <= (4 if one["market"] == "spot" else 2))
TIERS = st.sampled_from([tier.name for tier in CATALOG.tiers])


@st.composite
def rooms(draw):
    """Give a room in which what is held fits, and a job that waits in it."""

    def job(number, state):
        spec = TrainSpec(name="a", workload="a:b", resources=draw(RESOURCES), tier=draw(TIERS))
        made = Job(f"a-{number:06}", spec, NOW + timedelta(seconds=number))
        return made.admitted(NOW).running(NOW) if state is JobState.RUNNING else made

    held = []
    for number in range(draw(st.integers(0, 6))):
        one = job(number, JobState.RUNNING)
        used = Room((), held, CATALOG, {}).used(one)
        if place(demand(one.spec), CATALOG, used) is not None:
            held.append(one)
    queue = [job(10 + number, JobState.QUEUED) for number in range(draw(st.integers(1, 4)))]
    return Room(queue, held, CATALOG, {}), draw(st.sampled_from(queue))


@given(rooms())
def test_a_queued_job_always_has_one_reason_and_next_only_where_it_fits(drawn):
    room, job = drawn
    sign, *_ = turn_signs(job, room)
    fits = place(demand(job.spec), CATALOG, room.used(job)) is not None
    assert sign.reason in ("Full", "Behind", "Next", "MakingRoom")
    assert fits or sign.reason in ("Full", "MakingRoom")


@given(rooms(), st.dictionaries(st.integers(0, 5), st.floats(1, 1e6)))
def test_a_wait_has_an_end_only_where_enough_of_those_in_its_way_have_one(drawn, pace):
    room, job = drawn
    known = {f"a-{number:06}": seconds for number, seconds in pace.items()}
    remaining = {one.id: known[one.id] for one in room.held if one.id in known}
    wait = wait_for_room(job, room, remaining)
    if wait is None:
        assert place(demand(job.spec), CATALOG, room.used(job, remaining)) is None
    elif wait.at_most_seconds is not None:
        assert wait.at_least_seconds <= wait.at_most_seconds
        assert place(demand(job.spec), CATALOG, room.used(job, remaining)) is not None


@given(rooms())
def test_whatever_is_offered_instead_fits_now_and_is_sorted_by_price(drawn):
    room, job = drawn
    used = room.used(job)
    found = options(job.spec, CATALOG, used, frozenset())
    assert [one.price_per_hour for one in found] == sorted(one.price_per_hour for one in found)
    for option in found:
        assert size(option.placement) >= 1
        for share in option.placement:
            group = next(group for group in CATALOG.worker_groups if group.name == share.group)
            assert used.get(share.group, 0) + share.cluster_workers <= group.max_workers + 1e-9
