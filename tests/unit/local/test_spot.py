"""Which nodes go and which come: properties of the market's rules."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from platform_app.local.spot import Limit, Node, NodeState, first_to_go, startable, surplus

START = datetime(2026, 1, 1, tzinfo=UTC)


@st.composite
def groups(draw):
    count = draw(st.integers(0, 12))
    return tuple(
        Node(
            name=f"gpu-spot-{number}",
            group="gpu-spot",
            state=draw(st.sampled_from(NodeState)),
            since=START + timedelta(seconds=draw(st.integers(0, 100))),
        )
        for number in range(count)
    )


limits = st.builds(Limit, alive=st.integers(0, 12), keep=st.booleans())


def of(nodes, *states):
    return [node for node in nodes if node.state in states]


@given(groups(), limits)
def test_after_the_surplus_has_gone_the_limit_holds_and_no_more_went_than_had_to(nodes, limit):
    gone = surplus(nodes, limit)
    alive = len(of(nodes, NodeState.RUNNING, NodeState.STARTING))
    assert len(gone) == (0 if limit.keep else max(0, alive - limit.alive))
    rest = [node for node in nodes if node not in gone]
    assert surplus(rest, limit) == ()


@given(groups(), limits)
def test_a_node_with_a_notice_and_one_that_waits_are_never_taken(nodes, limit):
    assert not of(surplus(nodes, limit), NodeState.DRAINING, NodeState.PENDING)


@given(groups())
def test_the_longest_running_go_first_and_those_that_start_last(nodes):
    order = first_to_go(nodes)
    assert order == (*of(order, NodeState.RUNNING), *of(order, NodeState.STARTING))
    for state in (NodeState.RUNNING, NodeState.STARTING):
        since = [node.since for node in order if node.state is state]
        assert since == sorted(since)


@given(groups(), limits)
def test_what_starts_was_waiting_and_never_makes_a_surplus(nodes, limit):
    started = startable(nodes, limit)
    assert len(of(started, NodeState.PENDING)) == len(started)
    then = [node.model_copy(update={"state": NodeState.STARTING}) if node in started else node for node in nodes]
    strict = limit.model_copy(update={"keep": False})
    assert len(surplus(then, strict)) == len(surplus(nodes, strict))
    assert startable(then, limit) == ()


@given(groups())
def test_without_a_limit_all_that_wait_start_and_none_goes(nodes):
    assert len(startable(nodes, None)) == len(of(nodes, NodeState.PENDING))
    assert surplus(nodes, None) == ()


@given(groups(), limits)
def test_who_waits_longest_starts_first(nodes, limit):
    started = startable(nodes, limit)
    left = [node for node in of(nodes, NodeState.PENDING) if node not in started]
    assert all(one.since <= other.since for one in started for other in left)
