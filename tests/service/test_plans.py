"""The plan before the price: where, when and for how much a job would run, and that asking changes nothing."""

import pytest

from platform_app.domain.job import JobState
from platform_app.domain.team import Principal
from platform_app.specs import CommandSpec, Role
from tests.control_plane import train_spec
from tests.service import explained as inject


def test_what_fits_would_start_at_once_and_nothing_is_stored(plane):
    plan = plane.jobs.plan(train_spec(resources={"num_workers": 2}), hours=3)
    assert (plan.blocked, plan.wait, plan.options) == (False, None, ())
    assert plan.starts.startswith("it would start at once")
    assert (plan.price_per_hour, plan.price) == (pytest.approx(0.72), pytest.approx(2.16))
    assert [(share.group, share.price_per_hour) for share in plan.placement] == [("gpu-spot", pytest.approx(0.72))]
    assert plane.store.live() == []


def test_what_is_free_now_decides_where_and_for_how_much(plane):
    plane.running(resources={"num_workers": 4})
    plan = plane.jobs.plan(train_spec())
    assert [share.group for share in plan.placement] == ["gpu-ondemand"]
    assert plan.price_per_hour == pytest.approx(1.01)


def test_what_does_not_fit_is_told_with_who_holds_the_room_and_what_would_fit(plane):
    for _ in range(2):
        plane.running(resources={"num_workers": 2})
    plan = plane.jobs.plan(train_spec(resources={"num_workers": 2, "market": "spot"}))
    assert plan.blocked
    assert "4 of 4 of gpu-spot are taken by digits-000001 (2), digits-000002 (2)" in plan.starts
    assert [option.change for option in plan.options] == [
        "resources.market: prefer-spot",
        "resources.market: on-demand",
    ]
    assert plan.wait is None
    assert plan.price_per_hour == pytest.approx(0.72), "of an empty cluster"


def test_what_it_would_take_from_others_is_told_before(plane):
    *_, newest = inject.filled(plane)
    plan = plane.jobs.plan(train_spec(tier="training-critical"))
    assert plan.preempts == newest
    assert plan.starts == f"it would start when room is made: room is made for it by {newest}"
    assert plane.job(newest).state is JobState.RUNNING


def test_the_plan_says_what_explain_says_once_it_is_submitted(plane):
    inject.filled(plane)
    planned = plane.jobs.plan(train_spec())
    assert planned.starts == f"it would wait: {plane.explain.explain(plane.submit()).why}"


def test_a_command_is_planned_and_offered_what_would_fit(plane):
    plane.running(resources={"num_workers": 4})
    fields = {"kind": "command", "name": "script", "entrypoint": "python x.py"}
    command = CommandSpec(**fields, workers={"num_workers": 2, "market": "spot"})
    plan = plane.jobs.plan(command)
    assert plan.blocked
    assert "workers.market: prefer-spot" in [option.change for option in plan.options]


def test_jobs_of_another_team_hold_room_without_a_name(plane):
    inject.filled(plane, team="research")
    asker = Principal("product", Role.MEMBER, "t")
    planned = plane.jobs.of(asker).plan(train_spec())
    assert "by a job of team research (2), a job of team research (2)" in planned.starts
    waiting = plane.jobs.of(asker).submit(train_spec())
    assert "digits-" not in plane.explain.of(asker).explain(waiting.id).model_dump_json().replace(waiting.id, "")
