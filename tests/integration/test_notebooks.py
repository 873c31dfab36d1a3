"""The notebooks that people begin with, run headless against a whole platform on this machine."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

pytestmark = [pytest.mark.ray, pytest.mark.timeout(400)]

EXAMPLES = Path(__file__).parents[2] / "jobs" / "examples"


@pytest.fixture
def executed(running, monkeypatch):
    """Run a notebook against the platform and give it with its outputs."""
    for name, value in running.state.shell_environment().items():
        monkeypatch.setenv(name, value)

    def execute(name):
        notebook = nbformat.read(EXAMPLES / name, as_version=4)
        NotebookClient(
            notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": EXAMPLES}}
        ).execute()
        return notebook

    return execute


def shown(notebook, kind="text/html"):
    """Give what a notebook shows, of one kind."""
    outputs = (output for cell in notebook.cells for output in cell.get("outputs", ()))
    return [str(output["data"][kind]) for output in outputs if kind in output.get("data", {})]


def printed(notebook):
    return "".join(output["text"] for cell in notebook.cells for output in cell.get("outputs", ()) if "text" in output)


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.ipynb")), ids=lambda path: path.name)
def test_committed_notebooks_hold_no_outputs(path):
    cells = nbformat.read(path, as_version=4).cells
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)


def test_a_sweep_from_a_notebook_with_a_function_of_its_own(running, executed):
    notebook = executed("sweep.ipynb")
    assert any("<circle" in html and "accuracy" in html for html in shown(notebook)), "a chart of the trials"
    assert any("4/4 trials" in html for html in shown(notebook)), "a bar that ran to its end"
    assert "best: {" in printed(notebook)
    (job,) = running.client.jobs(name="notebook-sweep").items
    assert job.spec.workload == "slipway_notebook:workload"
    assert running.client.versions("notebook-digits")[0].aliases == ("champion",)


@pytest.mark.long
def test_from_distributed_training_to_a_served_model(executed):
    assert "served accuracy 0.9" in printed(executed("ddp_to_served_model.ipynb"))
