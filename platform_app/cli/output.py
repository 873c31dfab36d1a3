"""How the command line shows things: tables for people, JSON for scripts."""

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel
from rich.console import Console
from rich.table import Table

from platform_app.client.progress import coloured, metrics_text

console = Console()
complaints = Console(stderr=True, soft_wrap=True)

__all__ = [
    "ago",
    "coloured",
    "complain",
    "complaints",
    "console",
    "metrics_text",
    "print_json",
    "print_table",
    "span",
]


def complain(message: str, head: str = "error: ") -> None:
    """Say on standard error what went wrong, as it is: a log's brackets are not rich's markup."""
    complaints.print(head, style="red", end="")
    complaints.print(message, markup=False, highlight=False)


def print_json(value: BaseModel | Iterable[BaseModel]) -> None:
    """Print a view, or a list of them, as JSON on standard output, unwrapped and uncoloured."""
    if isinstance(value, BaseModel):
        plain: Any = value.model_dump(mode="json")
    else:
        plain = [item.model_dump(mode="json") for item in value]
    print(json.dumps(plain, indent=2))  # noqa: T201  # rich would wrap long lines


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows under column heads."""
    table = Table(*columns, box=None, header_style="bold", pad_edge=False)
    for row in rows:
        table.add_row(*("" if cell is None else str(cell) for cell in row))
    console.print(table)


def ago(moment: datetime | None) -> str:
    """Say how long ago something was, in its largest unit."""
    return "" if moment is None else span((datetime.now(UTC) - moment).total_seconds()) + " ago"


def span(seconds: float) -> str:
    """Say how long something takes: `42 s`, `3 min 5 s`, `2 h 10 min`."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 1:
        return f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{minutes} min {rest} s" if hours < 1 else f"{hours} h {minutes} min"
