"""A function of a notebook as part of a working directory: pickled by value, beside a module that gives it back.

A function that can be imported goes by its name; one that was defined in a notebook, or inside another function, goes
by value with all that it uses (cloudpickle). What cannot go is refused here, where the traceback is still the user's.
"""

import io
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from inspect import getclosurevars
from pathlib import Path
from typing import Any

import cloudpickle

from platform_app.errors import FieldProblem, InvalidRequest

MODULE = "slipway_notebook"
"""Top-level module in the working directory."""
_PICKLE = f"{MODULE}.pkl"
_SOURCE = f'''"""What a notebook submitted: its functions, by value."""

import pathlib
import sys

_WRITTEN_BY = {{python}}
if sys.version_info[:2] != _WRITTEN_BY:
    raise ImportError(
        f"the notebook runs Python {{{{_WRITTEN_BY[0]}}}}.{{{{_WRITTEN_BY[1]}}}} and this worker "
        f"{{{{sys.version_info[0]}}}}.{{{{sys.version_info[1]}}}}: functions go by value only between the same ones"
    )
import cloudpickle

globals().update(cloudpickle.loads((pathlib.Path(__file__).parent / "{_PICKLE}").read_bytes()))
'''
_FIELDS = ("workload", "train_loop")
"""Of a spec: those that name a function."""


@dataclass(frozen=True)
class Carried:
    """A spec's fields with functions as names, and the files that go along."""

    fields: Mapping[str, Any]
    files: Mapping[str, bytes]


def carried(fields: Mapping[str, Any], has_working_dir: bool) -> Carried:
    """Turn the functions in a spec's fields into names, and what must go along into files of a working directory.

    Args:
        fields: of a spec; `workload` or `train_loop` may be a function.
        has_working_dir: whether a directory goes along, which may hold the module of a function.

    Raises:
        InvalidRequest: a function cannot go along; the message says what it holds that cannot.
    """
    named, by_value = dict(fields), {}
    for field in _FIELDS:
        if not callable(function := fields.get(field)):
            continue
        if is_importable(function):
            _require_reach(field, function, has_working_dir)
            named[field] = f"{function.__module__}:{function.__qualname__}"
        else:
            by_value[field] = function
            named[field] = f"{MODULE}:{field}"
    if not by_value:
        return Carried(named, {})
    pickled = _pickled(by_value)
    python = (sys.version_info[0], sys.version_info[1])
    return Carried(named, {f"{MODULE}.py": _SOURCE.format(python=python).encode(), _PICKLE: pickled})


def is_importable(function: Callable[..., Any]) -> bool:
    """Say whether a function can be had by importing its module: not one of a notebook or inside another function."""
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", "")
    if not module or module == "__main__" or not name.isidentifier():
        return False
    try:
        return getattr(import_module(module), name, None) is function
    except ImportError:
        return False


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle has no types
    """Pickles by value, and refuses what would be lost on the way."""

    def reducer_override(self, obj: Any) -> Any:
        """Refuse tensors that lie on a device of this machine; leave the rest to cloudpickle."""
        if type(obj).__module__.partition(".")[0] == "torch" and getattr(obj, "is_cuda", False):
            raise _OnDevice(f"a {type(obj).__name__} on {obj.device}")
        return super().reducer_override(obj)


class _OnDevice(Exception):
    """A tensor lies where a worker has none."""


def _pickled(functions: Mapping[str, Callable[..., Any]]) -> bytes:
    for field, function in functions.items():
        if (trouble := _trouble(function)) is not None:
            held = _culprit(function)
            where = f" in {held!r}" if held else ""
            name = getattr(function, "__qualname__", type(function).__name__)
            message = f"{name} cannot go along by value: it holds {trouble}{where}. Make it inside the function."
            raise InvalidRequest(FieldProblem(field, message))
    return _dump(dict(functions))


def _dump(value: object) -> bytes:
    buffer = io.BytesIO()
    _Pickler(buffer).dump(value)
    return buffer.getvalue()


def _trouble(value: object) -> str | None:
    """Say what keeps a value from being pickled; None where nothing does."""
    try:
        _dump(value)
    except _OnDevice as error:
        return str(error)
    except Exception as error:  # Whatever a user's object raises when it is pickled.
        return f"what cannot be pickled ({error})"
    return None


def _culprit(function: Callable[..., Any]) -> str | None:
    """Name the variable that keeps a function from being pickled; None where it is none of its own."""
    try:
        used = getclosurevars(function)
    except TypeError:
        return None
    known = {**used.globals, **used.nonlocals}
    return next((name for name, value in known.items() if _trouble(value) is not None), None)


def _require_reach(field: str, function: Callable[..., Any], has_working_dir: bool) -> None:
    """Raise InvalidRequest for a module of the user's own that no directory takes along."""
    module = import_module(function.__module__)
    file = Path(getattr(module, "__file__", None) or sys.prefix)
    top = function.__module__.partition(".")[0]
    if has_working_dir or top in ("jobs", "serve") or Path(sys.prefix) in file.parents:
        return
    message = f"{function.__module__} is a file of yours ({file}): send its directory along by working_dir"
    raise InvalidRequest(FieldProblem(field, message))
