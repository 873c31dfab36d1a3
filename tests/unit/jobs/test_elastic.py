"""How many workers an elastic run takes."""

from hypothesis import given
from hypothesis import strategies as st

from jobs.elastic import Node, read_grant, room, size
from platform_app.specs import Grant, WorkerResources

ELASTIC = WorkerResources(num_workers=(2, 4))


def test_room_is_counted_by_node():
    nodes = [Node({"CPU": 4, "GPU": 1}, {}), Node({"CPU": 0.5, "GPU": 1}, {}), Node({}, {}), Node({"CPU": 8}, {})]
    assert room(nodes, {"CPU": 1, "GPU": 1}, {}) == 1
    assert room(nodes, {"CPU": 1}, {}) == 12


def test_fractions_of_a_gpu_fill_it():
    assert room([Node({"CPU": 9, "GPU": 1}, {})], {"CPU": 0.1, "GPU": 0.1}, {}) == 10


def test_only_nodes_with_the_labels_have_room():
    nodes = [Node({"CPU": 1}, {"market": "spot"}), Node({"CPU": 2}, {"market": "on-demand"})]
    assert room(nodes, {"CPU": 1}, {"market": "on-demand"}) == 2


@given(can_have=st.integers(0, 9), granted=st.none() | st.integers(1, 9))
def test_a_size_is_within_the_bounds_and_follows_the_platforms_word(can_have, granted):
    chosen = size(ELASTIC, can_have, granted)
    assert 2 <= chosen <= 4
    spoken = can_have if granted is None else granted
    assert chosen == spoken or spoken not in range(2, 5)


def test_a_grant_is_read_and_its_absence_is_no_word(tmp_path):
    path = tmp_path / "grant.json"
    assert read_grant(path) is None
    path.write_text(Grant(num_workers=3).model_dump_json())
    assert read_grant(path) == 3
    path.write_text("{")
    assert read_grant(path) is None
