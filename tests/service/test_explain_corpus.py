"""Why is my job waiting, or why did it fail? What is told of the corpus of injected causes."""

import pytest

from tests.control_plane import sweep_spec
from tests.service import explained as inject
from tests.service.corpus import CASES


@pytest.fixture(scope="module")
def told(tmp_path_factory, migrated):
    """Give what is said of each case."""
    answers = {}
    for case in CASES:
        plane = inject.ControlPlane(tmp_path_factory.mktemp("plane"), migrated)
        plane.tick()
        job_id = case.inject(plane)
        answers[case.name] = plane.explain.explain(job_id)
        plane.database.close()
    return answers


def test_of_at_least_40_injected_causes_95_in_100_are_told_first(told):
    wrong = {
        case.name: (found.cause, found.why)
        for case in CASES
        if (found := told[case.name]).cause != case.cause or case.says not in found.why
    }
    assert len(told) == len(CASES) >= 40
    assert len(wrong) <= 0.05 * len(CASES), wrong


def test_nothing_that_is_blocked_is_said_to_start_soon(told):
    for case in CASES:
        found = told[case.name]
        assert found.blocked == (case.blocked and found.cause != "stopped-by-user"), case.name
        if case.blocked:
            assert found.wait is None or found.wait.at_most_seconds is None, case.name


def test_each_reason_has_evidence(told):
    assert [name for name, found in told.items() if not found.evidence] == []


def test_what_else_could_be_had_is_told_with_its_price(plane):
    found = plane.explain.explain(inject.spot_only(plane))
    assert found.options[0].change == "resources.market: prefer-spot"
    assert found.options[0].price_per_hour == pytest.approx(2.02)
    assert "for $2.02 per hour instead of $0.72" in found.unblock


def test_a_wait_for_others_follows_from_their_pace(plane):
    holders = inject.filled(plane)
    began = plane.clock.now()
    plane.tick(100)
    for job in holders:
        progress = {"done": 50, "total": 100, "unit": "steps", "began_at": began, "at": plane.clock.now()}
        plane.report(job, 1, status="running", num_workers=2, progress=progress)
    found = plane.explain.explain(plane.submit(resources={"num_workers": 2}))
    assert (round(found.wait.at_least_seconds), round(found.wait.at_most_seconds)) == (50, 200)


def test_nothing_is_promised_where_one_of_those_in_its_way_tells_nothing_of_itself(plane):
    inject.filled(plane)
    assert plane.explain.explain(plane.submit()).wait is None


def test_a_sweep_is_explained_as_a_training_run_is(plane):
    inject.filled(plane)
    assert plane.explain.explain(plane.jobs.submit(sweep_spec()).id).cause == "groups-full"
