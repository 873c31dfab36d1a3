"""How many workers an elastic run takes, and what it does while it cannot have more."""

from hypothesis import given
from hypothesis import strategies as st

from jobs.elastic import GROW_PATIENCE_SECONDS, START_PATIENCE_SECONDS, Reserve, most, read_grant
from platform_app.specs import Grant, WorkerResources

ELASTIC = WorkerResources(num_workers=(2, 4))


class Cluster:
    """A cluster with room for a number of workers, and a clock that moves when someone waits."""

    def __init__(self, room):
        self.room = room
        self.asked = []
        self.now = 0.0
        self.later = {}
        """Room at a time."""

    def ask(self):
        self.asked.append(Asked(self))
        return self.asked[-1]

    def sleep(self, seconds):
        self.now += seconds
        self.room = max([self.room, *(room for at, room in self.later.items() if at <= self.now)])

    def reserve(self):
        return Reserve(self.ask, lambda: self.now, self.sleep)


class Asked:
    """Room that was asked for: there for who asked first."""

    def __init__(self, cluster):
        self.cluster = cluster

    def is_there(self):
        return self in self.cluster.asked[: self.cluster.room]

    def give_back(self):
        self.cluster.asked.remove(self)


def grow(reserve, wanted):
    """Look twice: what was asked for at the first look is there at the second."""
    reserve.growth(wanted)
    return reserve.growth(wanted)


def test_a_run_grows_when_all_that_it_wants_is_there():
    cluster = Cluster(room=2)
    assert grow(cluster.reserve(), 2) == 2


def test_a_run_does_not_leave_what_it_has_for_what_is_not_there():
    cluster = Cluster(room=0)
    reserve = cluster.reserve()
    for _ in range(100):
        assert reserve.growth(3) == 0
        cluster.sleep(60)
    assert len(cluster.asked) == 3, "it asks for what it lacks once"


def test_a_run_grows_by_what_there_is_when_no_more_comes():
    cluster = Cluster(room=1)
    reserve = cluster.reserve()
    assert grow(reserve, 3) == 0
    cluster.sleep(GROW_PATIENCE_SECONDS)
    assert reserve.growth(3) == 1


def test_what_a_run_may_no_longer_have_is_let_go_what_is_not_there_first():
    cluster = Cluster(room=1)
    reserve = cluster.reserve()
    grow(reserve, 3)
    assert reserve.growth(1) == 1
    assert len(cluster.asked) == 1
    assert reserve.growth(0) == 0
    assert cluster.asked == []


def test_two_runs_that_grow_side_by_side_share_the_room():
    cluster = Cluster(room=3)
    one, other = cluster.reserve(), cluster.reserve()
    for _ in range(2):
        one.growth(2)
        other.growth(2)
    cluster.sleep(GROW_PATIENCE_SECONDS)
    assert (one.growth(2), other.growth(2)) == (2, 1)


def test_a_run_starts_with_all_at_once_when_it_is_there():
    cluster = Cluster(room=9)
    assert cluster.reserve().start(1, lambda: 4) == 4
    assert cluster.now < START_PATIENCE_SECONDS
    assert cluster.asked == [], "the room is there for the workers"


def test_a_run_starts_with_its_fewest_after_a_moment():
    cluster = Cluster(room=1)
    assert cluster.reserve().start(1, lambda: 4) == 1
    assert START_PATIENCE_SECONDS <= cluster.now < START_PATIENCE_SECONDS + 2


def test_a_run_waits_for_its_fewest():
    cluster = Cluster(room=1)
    cluster.later = {100: 2}
    assert cluster.reserve().start(2, lambda: 4) == 2
    assert cluster.now >= 100


@given(fewest=st.integers(1, 4), more=st.integers(0, 4), room=st.integers(0, 9))
def test_a_start_is_within_what_is_there_and_what_is_wanted(fewest, more, room):
    cluster = Cluster(room)
    cluster.later = {50: fewest}
    started = cluster.reserve().start(fewest, lambda: fewest + more)
    assert fewest <= started <= fewest + more
    assert started <= cluster.room


@given(granted=st.none() | st.integers(1, 9))
def test_what_a_run_may_have_is_within_its_bounds_and_follows_the_platforms_word(tmp_path_factory, granted):
    path = tmp_path_factory.mktemp("job") / "grant.json"
    if granted:
        path.write_text(Grant(num_workers=granted).model_dump_json())
    assert most(ELASTIC, path) == min(max(granted or 4, 2), 4)
    assert most(ELASTIC, path, at_most=3) == min(max(granted or 3, 2), 3)


def test_a_grant_is_read_and_its_absence_is_no_word(tmp_path):
    path = tmp_path / "grant.json"
    assert read_grant(path) is None
    path.write_text(Grant(num_workers=3).model_dump_json())
    assert read_grant(path) == 3
    path.write_text("{")
    assert read_grant(path) is None
