"""What a command holds beside what it declared."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_app.domain.overuse import declared, overuse
from tests.control_plane import command_spec

fractions = st.integers(0, 80).map(lambda tenths: tenths / 10)


def a_command(driver=0, num_workers=0, each=1):
    workers = {"num_workers": num_workers, "gpus_per_worker": each} if num_workers else None
    return command_spec(driver={"gpus_per_worker": driver}, workers=workers)


@given(st.integers(0, 4), st.integers(0, 8), fractions)
def test_it_is_overuse_exactly_when_more_is_held_inside_than_was_declared_for_it(driver, inside, held):
    spec = a_command(driver, inside)
    assert declared(spec) == driver + inside
    assert (overuse(spec, held) is not None) == (held > inside)


def test_ten_tenths_of_a_gpu_are_one():
    assert overuse(a_command(num_workers=1), sum([0.1] * 10)) is None


@pytest.mark.parametrize("words", ["holds 2 GPUs", "declared 0", "slipway.gpus (2)"])
def test_the_sentence_says_how_much_and_what_to_declare(words):
    assert words in overuse(a_command(driver=1), 2)
