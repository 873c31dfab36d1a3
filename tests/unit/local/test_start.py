"""Components start side by side, in the order of their needs, or fail with a reason."""

import os
import sys
import uuid

import pytest

from platform_app.local.components import Component
from platform_app.local.processes import mark, stop_members
from platform_app.local.start import StartFailed, start


@pytest.fixture
def run(tmp_path):
    """Start components that are small Python programs; what is left of them is ended."""
    cluster = uuid.uuid4().hex
    story: list[tuple[str, bool]] = []

    def run(*parts, wanted=lambda: True, timeout_seconds=20.0):
        start(parts, tmp_path, tmp_path, lambda *step: story.append(step), wanted, timeout_seconds)
        return story

    run.environment = {**os.environ, **mark(cluster, "test")}
    run.story = story
    yield run
    stop_members(cluster, grace_seconds=0)


def component(run, name, code="pass", ready=lambda: True, **options):
    return Component(name, (sys.executable, "-c", code), run.environment, ready, **options)


def test_a_component_starts_when_what_it_needs_is_ready(run):
    first, second = component(run, "first"), component(run, "second", needs=("first",))
    assert run(second, first) == [("first", False), ("first", True), ("second", False), ("second", True)]


def test_components_that_do_not_need_one_another_start_at_once(run):
    first, second = component(run, "first", "import time; time.sleep(0.3)"), component(run, "second")
    assert run(first, second)[:2] == [("first", False), ("second", False)]


def test_a_component_is_ready_only_when_it_answers(run):
    asked = []

    def third_time():
        asked.append(1)
        return len(asked) == 3

    run(component(run, "server", "import time; time.sleep(60)", third_time, stays=True))
    assert len(asked) == 3


def test_a_component_that_fails_is_named_with_the_end_of_its_output(run, tmp_path):
    code = "import sys; print(*range(100), sep='\\n'); sys.exit('the port is taken')"
    with pytest.raises(StartFailed, match=r"control plane ended with exit code 1") as caught:
        run(component(run, "control plane", code))
    message = str(caught.value)
    assert "    99\n    the port is taken\n" in message
    assert "\n    50\n" not in message
    assert str(tmp_path) in message
    assert (tmp_path / "control-plane.log").read_text().startswith("0\n1\n")


def test_a_server_that_ends_has_failed_even_with_code_0(run):
    with pytest.raises(StartFailed, match="MLflow ended with exit code 0"):
        run(component(run, "MLflow", ready=lambda: False, stays=True))


def test_a_silent_component_fails_after_its_time(run):
    with pytest.raises(StartFailed, match=r"Ray was not ready after 0\.2 seconds(.|\n)*no output"):
        run(component(run, "Ray", "import time; time.sleep(60)"), timeout_seconds=0.2)


def test_a_start_that_nobody_wants_any_more_ends(run):
    with pytest.raises(StartFailed, match="ended by someone else"):
        run(component(run, "Ray", "import time; time.sleep(60)"), wanted=lambda: len(run.story) == 0)


def test_a_component_does_not_hear_the_terminals_ctrl_c(run, tmp_path):
    run(component(run, "server", "import os; print(os.getsid(0) == os.getpid())"))
    assert (tmp_path / "server.log").read_text() == "True\n"
