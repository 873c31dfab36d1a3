"""Admission over random events: thousands each time, a hundred thousand of them with `make test-long`.

`tests.unit.domain.simulated_queue` says what is checked after each.
"""

import random

import pytest

from tests.unit.domain.simulated_queue import World


@pytest.mark.parametrize(
    ("seed", "events"),
    [*((seed, 500) for seed in range(4)), *(pytest.param(seed, 5000, marks=pytest.mark.long) for seed in range(20))],
)
@pytest.mark.timeout(600)
def test_quotas_tiers_turns_and_room_hold_whatever_happens_in_whatever_order(seed, events):
    world = World(random.Random(seed))
    for _ in range(events):
        world.happen()
    happens = ("completed", "preempted", "victims", "nothing kept")
    for what in (*happens, "starts", "quota", "no-room", "room-is-made"):
        assert world.seen[what] > 20, f"{what} hardly happened: {world.seen}"
