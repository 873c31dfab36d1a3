"""Kubernetes' quantities as numbers: the API server writes 262144Mi back as 256Gi."""

import re
from decimal import Decimal

_UNITS = {"": Decimal(1), "m": Decimal("0.001"), "k": Decimal(1000)}
_UNITS |= {letter: Decimal(1000) ** power for power, letter in enumerate("MGTP", start=2)}
_UNITS |= {f"{letter}i": Decimal(1024) ** power for power, letter in enumerate("KMGTP", start=1)}


def amount(text: object) -> Decimal | str:
    """Read a quantity; what is none stays the text that it is."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([a-zA-Z]*)", str(text))
    if match is None or match[2] not in _UNITS:
        return str(text)
    return Decimal(match[1]) * _UNITS[match[2]]
