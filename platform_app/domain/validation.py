"""What pydantic finds wrong with a spec, as problems of fields in a person's words.

Pydantic's paths name the chosen member of a union (`sweep.space.lr.loguniform.low`); a person wrote `space.lr.low`.
Walking the spec's own types beside the path tells the one from the other, and which fields would have been known.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from platform_app.errors import FieldProblem

_LONGEST_VALUE = 80


def nearest(given: object, known: Iterable[str]) -> str:
    """End a sentence about an unknown name: with the nearest known one, else with all that there are."""
    names = sorted(known)
    return _did_you_mean(given, names) or (f"; there is: {', '.join(names)}" if names else "; there is none")


def field_problems(errors: Iterable[Mapping[str, Any]], kind: Any = None) -> tuple[FieldProblem, ...]:
    """Explain pydantic's errors, one problem for each field.

    Args:
        errors: `ValidationError.errors()`.
        kind: the type that was validated, from which fields are told from members of unions; None takes paths as
            they are.
    """
    expected: dict[str, list[str]] = {}
    given: dict[str, str] = {}
    for error in errors:
        path, owner = _locate(kind, error["loc"])
        field, message, value = _explain(error, path, owner)
        expected.setdefault(field, []).append(message)
        given[field] = value
    return tuple(
        FieldProblem(field, ", or ".join(dict.fromkeys(messages)) + given[field])
        for field, messages in expected.items()
    )


def _did_you_mean(given: object, known: Iterable[str]) -> str:
    close = get_close_matches(str(given), list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _explain(error: Mapping[str, Any], path: Sequence[str], owner: Any) -> tuple[str, str, str]:
    """Give the field, what was expected, and the end of the sentence: what was got."""
    context = error.get("ctx", {})
    match error["type"]:
        case "missing":
            return ".".join(path), "required, but not given", ""
        case "extra_forbidden":
            known = owner.model_fields if _is_spec(owner) else ()
            return ".".join(path), f"unknown field{nearest(path[-1], known)}", ""
        case "union_tag_not_found":
            field = context["discriminator"].strip("'")
            return ".".join((*path, field)), f"required, one of: {', '.join(_tags(owner, field))}", ""
        case "union_tag_invalid":
            field, tag = context["discriminator"].strip("'"), context["tag"]
            hint = _did_you_mean(tag, _quoted(context["expected_tags"]))
            return ".".join((*path, field)), f"expected one of {context['expected_tags']}", f"; got {tag!r}{hint}"
        case "enum" | "literal_error":
            hint = _did_you_mean(error["input"], _quoted(context["expected"]))
            return ".".join(path), f"expected {context['expected']}", f"; got {_shown(error['input'])}{hint}"
        case "value_error":
            return ".".join(path), error["msg"].removeprefix("Value error, "), ""
    message = error["msg"].replace("Input should be", "expected")
    return ".".join(path), message, f"; got {_shown(error['input'])}"


def _locate(kind: Any, parts: Iterable[str | int]) -> tuple[list[str], Any]:
    """Follow a path of pydantic's through the types; give the fields on it, and the last type that was looked into."""
    if kind is None:
        return [str(part) for part in parts], None
    path = []
    here = owner = _bare(kind)
    for part in parts:
        owner = here
        here, is_field = _step(here, part)
        if is_field:
            path.append(str(part))
    return path, here if _is_union(here) else owner


def _step(kind: Any, part: str | int) -> tuple[Any, bool]:
    """Give the type behind one part of a path, and whether the part is a field (or key, or index) of the input."""
    if _is_union(kind):
        return next((member for member in get_args(kind) if part in _all_tags(member)), None), False
    if _is_spec(kind):
        field = kind.model_fields.get(str(part))
        return (_bare(field.annotation) if field else None), True
    if get_origin(kind) is dict:
        return _bare(get_args(kind)[1]), part != "[key]"
    if get_origin(kind) in (tuple, list):
        return _bare(get_args(kind)[0]), True
    return None, False


def _bare(kind: Any) -> Any:
    """Take `Annotated` and `| None` away: neither shows in a path."""
    if get_origin(kind) is Annotated:
        return _bare(get_args(kind)[0])
    if _is_union(kind):
        members = [member for member in get_args(kind) if member is not type(None)]
        return _bare(members[0]) if len(members) == 1 else Union[tuple(members)]  # noqa: UP007  # made at run time
    return kind


def _is_union(kind: Any) -> bool:
    return get_origin(kind) in (Union, UnionType)


def _is_spec(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _tags(union: Any, field: str) -> list[str]:
    members = [member for member in get_args(union) if _is_spec(member) and field in member.model_fields]
    return [tag for member in members for tag in get_args(member.model_fields[field].annotation)]


def _all_tags(member: Any) -> set[str]:
    if not _is_spec(member):
        return set()
    literals = [field.annotation for field in member.model_fields.values() if get_origin(field.annotation) is Literal]
    return {tag for literal in literals for tag in get_args(literal)}


def _quoted(text: str) -> list[str]:
    return re.findall(r"'([^']*)'", text)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"
