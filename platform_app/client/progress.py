"""A job's progress, live: a bar in a terminal, a bar in a notebook, nothing where nobody looks on."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape as escape_markup
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from platform_app.domain.deployment import DeploymentState
from platform_app.domain.job import JobState
from platform_app.views import JobView

_COLOURS: dict[str, str] = {
    JobState.QUEUED: "yellow",
    JobState.PENDING: "yellow",
    JobState.RUNNING: "cyan",
    JobState.STOPPING: "yellow",
    JobState.SUCCEEDED: "green",
    JobState.FAILED: "red",
    JobState.STOPPED: "dim",
    DeploymentState.READY: "green",
    DeploymentState.DEPLOYING: "cyan",
    DeploymentState.DELETING: "yellow",
}

Show = Callable[[JobView], None]


def coloured(state: str) -> str:
    """Give a state in its colour, as rich markup."""
    return f"[{_COLOURS.get(state, 'default')}]{state}[/]"


def metrics_text(metrics: dict[str, float]) -> str:
    """Give metrics in one line, by name."""
    return "  ".join(f"{name}={value:.4g}" for name, value in sorted(metrics.items()))


def progress_text(job: JobView) -> str:
    """Say in one line how far a job is; empty before it has told anything."""
    if job.progress is None:
        return ""
    done = f"{job.progress.done}/{job.progress.total} {job.progress.unit}"
    return f"{done}  {metrics_text(job.progress.metrics)}"


@contextmanager
def live(console: Console | None = None) -> Iterator[Show]:
    """Give what shows a job anew, again and again, in one place.

    Args:
        console: where; absent: standard output, or the notebook that this runs in.
    """
    console = console or Console()
    if console.is_jupyter:
        yield _in_notebook()
    elif console.is_terminal:
        with _in_terminal(console) as show:
            yield show
    else:
        yield lambda _job: None


@contextmanager
def _in_terminal(console: Console) -> Iterator[Show]:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=28),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as shown:
        task = shown.add_task("QUEUED", total=None, note="")

        def show(job: JobView) -> None:
            done, total = (job.progress.done, job.progress.total) if job.progress else (0, None)
            note = progress_text(job) or escape_markup(job.message)
            shown.update(task, description=coloured(job.state), completed=done, total=total, note=note)

        yield show


def _in_notebook() -> Show:
    # Jupyter's own: where this runs in a notebook, it is there.
    from IPython.display import DisplayHandle

    place, shown = DisplayHandle(), False

    def show(job: JobView) -> None:
        nonlocal shown
        place.update(job) if shown else place.display(job)
        shown = True

    return show
