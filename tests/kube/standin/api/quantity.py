"""Kubernetes' quantities: `500m`, `2Gi`, `1e3`."""

from collections.abc import Iterable, Mapping
from decimal import ROUND_CEILING, Decimal, InvalidOperation

_SUFFIXES = {
    **{suffix: Decimal(1024) ** power for power, suffix in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), 1)},
    **{suffix: Decimal(1000) ** power for power, suffix in enumerate(("k", "M", "G", "T", "P", "E"), 1)},
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
}

Amounts = dict[str, Decimal]
"""Amounts by resource name."""


def parse(text: str | int | float) -> Decimal:
    """Read a quantity. Raises ValueError for what is none."""
    word = str(text).strip()
    for suffix, factor in _SUFFIXES.items():
        if word.endswith(suffix):
            word, scale = word[: -len(suffix)], factor
            break
    else:
        scale = Decimal(1)
    try:
        return Decimal(word) * scale
    except InvalidOperation:
        raise ValueError(f"{text!r} is not a quantity") from None


def parse_all(quantities: Mapping[str, str | int] | None) -> Amounts:
    """Read the quantities of a resource list."""
    return {name: parse(text) for name, text in (quantities or {}).items()}


def whole(amount: Decimal) -> int:
    """Round up to a whole number."""
    return int(amount.to_integral_value(rounding=ROUND_CEILING))


def show(amount: Decimal, name: str = "") -> str:
    """Write an amount as Kubernetes does: binary suffixes for memory and storage, thousandths where needed."""
    if amount != amount.to_integral_value():
        return f"{whole(amount * 1000)}m"
    number = int(amount)
    if name.endswith(("memory", "storage")):
        for suffix in ("Ei", "Pi", "Ti", "Gi", "Mi", "Ki"):
            if number and number % int(_SUFFIXES[suffix]) == 0:
                return f"{number // int(_SUFFIXES[suffix])}{suffix}"
    return str(number)


def add(*lists: Mapping[str, Decimal]) -> Amounts:
    """Sum resource lists."""
    total: Amounts = {}
    for amounts in lists:
        for name, amount in amounts.items():
            total[name] = total.get(name, Decimal(0)) + amount
    return total


def larger(lists: Iterable[Mapping[str, Decimal]]) -> Amounts:
    """Take the largest amount of each resource."""
    result: Amounts = {}
    for amounts in lists:
        for name, amount in amounts.items():
            result[name] = max(result.get(name, Decimal(0)), amount)
    return result
