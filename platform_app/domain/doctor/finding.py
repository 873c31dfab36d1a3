"""What is wrong with a cluster: told so that a person can check it, and mend it."""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

APPLY = "kubectl apply --server-side -k k8s/overlays/prod   # or dev"
"""Mends what is in the manifests and not, or no longer, in the cluster."""

_MOST_NAMED = 5


class Severity(StrEnum):
    """How bad it is."""

    ERROR = "error"
    """Something does not work, or is open to those who should not come in."""
    WARNING = "warning"
    """It works, and will surprise."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong."""

    name: str
    """Which fault: the same for every cluster that has it, such as `quota-does-nothing`."""
    severity: Severity
    what: str
    """A sentence: what is wrong, and what comes of it."""
    evidence: tuple[str, ...]
    """The objects and numbers that say so."""
    mend: str
    """The command or the edit that mends it."""


def error(name: str, what: str, evidence: Collection[str], mend: str) -> Finding:
    """Make a finding of something that does not work."""
    return Finding(name, Severity.ERROR, what, tuple(evidence), mend)


def warning(name: str, what: str, evidence: Collection[str], mend: str) -> Finding:
    """Make a finding of something that will surprise."""
    return Finding(name, Severity.WARNING, what, tuple(evidence), mend)


def few(lines: Collection[str]) -> tuple[str, ...]:
    """Keep evidence short: a thousand nodes with the same fault are told by the first of them."""
    named = tuple(lines)[:_MOST_NAMED]
    return (*named, f"and {len(lines) - len(named)} more") if len(lines) > len(named) else named
