"""What a notebook is shown, and what it works with."""

import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from platform_app.client.progress import live
from platform_app.display import bar, cell, chart, fields, table
from platform_app.errors import NotFound
from tests.control_plane import sweep_spec, train_spec


def well_formed(html: str) -> ElementTree.Element:
    """Read HTML as XML, which ours is."""
    return ElementTree.fromstring(f"<div>{html}</div>")


@pytest.fixture
def sweep(plane):
    spec = sweep_spec(objective={"metric": "accuracy", "mode": "max"})
    job = plane.jobs.submit(spec).id
    for lr, accuracy in (("0.1", 0.8), ("0.01", 0.95), ("0.5", None)):
        plane.registry.add_trial("slipway", job, params={"lr": lr}, metrics={"accuracy": accuracy} if accuracy else {})
    return job


def test_trials_are_a_frame_with_numbers(platform, sweep):
    frame = platform.trials(sweep).to_pandas()
    assert list(frame["lr"]) == [0.1, 0.01, 0.5]
    assert frame["accuracy"].max() == 0.95
    assert frame.loc[frame["accuracy"].idxmax(), "run_id"] == platform.best(sweep).run_id


def test_the_best_trial_is_best_by_the_objective(platform, plane, sweep):
    assert platform.best(sweep).params == {"lr": "0.01"}
    loss = plane.jobs.submit(sweep_spec(objective={"metric": "loss", "mode": "min"})).id
    with pytest.raises(NotFound, match="no trial has reported loss yet"):
        platform.best(loss)


def test_trials_are_shown_as_a_chart_and_a_table_with_the_best_one_marked(platform, sweep):
    shown = well_formed(platform.trials(sweep)._repr_html_())
    assert len(shown.findall(".//circle")) == 2
    (marked,) = (row for row in shown.iter("tr") if "bold" in row.get("style", ""))
    assert "lr=0.01" in "".join(marked.itertext())


def test_whatever_the_platform_answers_is_shown(platform, plane):
    job = plane.running()
    plane.report(job, 1, status="running", progress={"done": 3, "total": 9, "unit": "steps", "metrics": {"loss": 0.5}})
    plane.registry.add_version("digits")
    answers = [
        platform.job(job),
        platform.jobs(),
        platform.plan(train_spec()),
        platform.explain(job),
        platform.models(),
        platform.versions("digits"),
        platform.cluster(),
        platform.events(job),
        platform.trials(job),
        platform.deployments(),
    ]
    texts = ["".join(well_formed(answer._repr_html_()).itertext()) for answer in answers]
    assert "3/9 steps" in texts[0]
    assert job in texts[1]
    assert "gpu-spot" in texts[2]
    assert all(texts)
    assert platform.models().to_pandas()["name"].tolist() == ["digits"]


@given(st.lists(st.floats(-1e9, 1e9), min_size=1), st.text(st.characters(exclude_categories=["C"])))
def test_whatever_is_drawn_is_well_formed_and_within_the_picture(values, name):
    picture = well_formed(chart(values, 0, name))
    for dot in picture.iter("circle"):
        assert 0 <= float(dot.get("cx")) <= 420
        assert 0 <= float(dot.get("cy")) <= 140
    well_formed(table([name], [[name, 1.5, None, {name: 2}]], marked=0) + fields({name: name}) + bar(3, 0, name))


def test_what_users_wrote_is_no_markup():
    assert cell("<script>") == "&lt;script&gt;"


def test_a_bar_is_drawn_where_someone_looks_on_and_nowhere_else(platform, plane):
    job = platform.job(plane.running())
    for is_terminal in (True, False):
        console = Console(force_terminal=is_terminal, force_jupyter=False, width=80)
        with console.capture() as captured, live(console) as show:
            show(job)
        assert ("RUNNING" in captured.get()) == is_terminal
