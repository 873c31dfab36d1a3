"""Label and field selectors, as in `?labelSelector=` and `?fieldSelector=`."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from tests.kube.standin.api.errors import bad_request

Test = Callable[[dict[str, Any]], bool]

_SET = re.compile(r"^(?P<key>\S+)\s+(?P<op>in|notin)\s+\((?P<values>[^)]*)\)$")


def dig(value: Any, path: str) -> Any:
    """Follow a dotted path through dictionaries; None where it ends early."""
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def by_labels(selector: str | None) -> Test:
    """Make a test of an object's labels: equality, sets and presence."""
    tests = [_label_test(term.strip()) for term in _terms(selector or "")]
    return lambda obj: all(test(obj["metadata"].get("labels") or {}) for test in tests)


def by_fields(selector: str | None) -> Test:
    """Make a test of an object's fields: `a.b=c` and `a.b!=c`; an absent field equals the empty string."""
    tests = [_field_test(term.strip()) for term in (selector or "").split(",") if term.strip()]
    return lambda obj: all(test(obj) for test in tests)


def match_labels(selector: Mapping[str, Any] | None, labels: Mapping[str, str]) -> bool:
    """Say whether labels satisfy a selector written as an object; an absent selector selects nothing."""
    if selector is None:
        return False
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    return all(satisfies(labels, expression) for expression in selector.get("matchExpressions") or ())


def satisfies(labels: Mapping[str, str], expression: Mapping[str, Any]) -> bool:
    """Say whether labels satisfy one expression `{key, operator, values}`."""
    value, values = labels.get(expression["key"]), [str(one) for one in expression.get("values") or ()]
    match expression["operator"]:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt":
            return value is not None and int(value) > int(values[0])
        case "Lt":
            return value is not None and int(value) < int(values[0])
    raise bad_request(f"unknown operator {expression['operator']!r}")


def _terms(selector: str) -> list[str]:
    return [term for term in re.split(r",(?![^(]*\))", selector) if term.strip()]


def _label_test(term: str) -> Callable[[Mapping[str, str]], bool]:
    if found := _SET.match(term):
        key, values = found["key"], [value.strip() for value in found["values"].split(",")]
        if found["op"] == "in":
            return lambda labels: labels.get(key) in values
        return lambda labels: labels.get(key) not in values
    if "!=" in term:
        key, _, value = term.partition("!=")
        return lambda labels: labels.get(key.strip()) != value.strip()
    if "=" in term:
        key, _, value = term.replace("==", "=").partition("=")
        return lambda labels: labels.get(key.strip()) == value.strip()
    if term.startswith("!"):
        return lambda labels: term[1:] not in labels
    return lambda labels: term in labels


def _field_test(term: str) -> Test:
    path, operator, value = term.partition("!=") if "!=" in term else term.replace("==", "=").partition("=")
    if not operator:
        raise bad_request(f"invalid field selector {term!r}")
    equal = "!=" not in operator

    def test(obj: dict[str, Any]) -> bool:
        found = dig(obj, path)
        return (str("" if found is None else found) == value) is equal

    return test
