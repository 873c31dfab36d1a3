"""What the API answers is a `View`, and how a notebook shows it: small pieces of HTML and SVG, without a script."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from html import escape

from pydantic import BaseModel, ConfigDict

_CELL = "padding:2px 10px 2px 0;text-align:left;vertical-align:top"
_LONGEST = 300
_WIDTH, _HEIGHT, _MARGIN = 420, 140, 24


class View(BaseModel):
    """Something the API answers; fields may be added in later versions, so readers ignore what they do not know."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        # A metric may be NaN; JSON has no such number, so it is written as the string that a float is read from.
        ser_json_inf_nan="strings",
        use_attribute_docstrings=True,
    )

    def _repr_html_(self) -> str:
        """Give what a notebook shows: the fields, and a table for each list."""
        lists = {
            name: value for name, value in self if isinstance(value, tuple) and value and isinstance(value[0], View)
        }
        plain = {name: value for name, value in self if name not in lists and not isinstance(value, BaseModel | dict)}
        return fields(plain) + "".join(
            f"<b>{name.replace('_', ' ')}</b>{views_table(rows)}" for name, rows in lists.items()
        )


def views_table(views: "Sequence[View]") -> str:
    """Give views as a table for a notebook; columns that are empty in all of them are left out."""
    names = (
        [name for name in type(views[0]).model_fields if any(getattr(view, name) for view in views)] if views else []
    )
    return table(
        [name.replace("_", " ") for name in names], [[getattr(view, name) for name in names] for view in views]
    )


def cell(value: object) -> str:
    """Give a value as escaped text: four digits of a number, `name=value` of a mapping, nothing of None."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return "  ".join(f"{escape(str(name))}={cell(each)}" for name, each in value.items())
    text = str(value)
    return escape(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…")


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], marked: int | None = None) -> str:
    """Give rows under column heads; one may be marked."""
    head = "".join(f'<th style="{_CELL}">{escape(name)}</th>' for name in columns)
    lines = [
        f'<tr style="font-weight:{"bold" if number == marked else "normal"}">'
        + "".join(f'<td style="{_CELL}">{cell(value)}</td>' for value in row)
        + "</tr>"
        for number, row in enumerate(rows)
    ]
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def fields(pairs: Mapping[str, object]) -> str:
    """Give names and values, one below the other; those without a value are left out."""
    shown = [(name.replace("_", " "), value) for name, value in pairs.items() if value not in (None, "", (), {})]
    lines = (
        f'<tr><th style="{_CELL}">{escape(name)}</th><td style="{_CELL}">{cell(value)}</td></tr>'
        for name, value in shown
    )
    return f"<table><tbody>{''.join(lines)}</tbody></table>"


def bar(done: int, total: int, note: str = "") -> str:
    """Give a progress bar."""
    share = min(1.0, done / total) if total else 0.0
    inner = f'<div style="width:{share:.0%};height:10px;background:#2a7ae2"></div>'
    return (
        f'<div style="display:inline-block;width:240px;border:1px solid #999">{inner}</div> '
        f"{done}/{total} {escape(note)}"
    )


def chart(values: Sequence[float], marked: int, name: str) -> str:
    """Give points in their order from left to right, one of them marked, with the least and the greatest written out.

    Args:
        values: finite numbers, at least one.
        marked: which to mark, counted from 0.
        name: of what they are.
    """
    low, high = min(values), max(values)
    span, steps = (high - low) or 1.0, max(1, len(values) - 1)
    points = [
        (
            _MARGIN + (_WIDTH - 2 * _MARGIN) * number / steps,
            _HEIGHT - _MARGIN - (_HEIGHT - 2 * _MARGIN) * (value - low) / span,
        )
        for number, value in enumerate(values)
    ]
    dots = "".join(
        _dot(x, y, f"{number + 1}: {values[number]:.4g}", number == marked) for number, (x, y) in enumerate(points)
    )
    edges = "".join(
        f'<text x="{_MARGIN}" y="{y}" font-size="10" fill="#666">{value:.4g}</text>'
        for y, value in ((12, high), (_HEIGHT - 6, low))
    )
    title = f'<text x="{_WIDTH / 2}" y="12" font-size="11" text-anchor="middle" fill="#444">{escape(name)}</text>'
    return f'<svg width="{_WIDTH}" height="{_HEIGHT}" role="img" aria-label="{escape(name)}">{title}{edges}{dots}</svg>'


def _dot(x: float, y: float, told: str, is_marked: bool) -> str:
    radius, colour = (6, "#d94f00") if is_marked else (3, "#2a7ae2")
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{colour}"><title>{escape(told)}</title></circle>'
