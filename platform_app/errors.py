"""What can go wrong, as the platform sees it. The API maps these to HTTP statuses, the CLI to exit codes.

SlipwayError
├── InvalidRequest       what was asked can never be done; names the fields
├── NotFound             there is no such thing, for this caller
├── Conflict             it contradicts what is there
│   └── StaleWrite       someone else changed the row since it was read
├── Unauthenticated      no token, or one that is not known, has expired or was revoked
├── Forbidden            the token's role or team is not enough for it
├── TemporaryError       an outside system is away; trying again later can help
└── PermanentError       an outside system refused; trying again cannot help
"""

from dataclasses import dataclass


class SlipwayError(Exception):
    """Base of all errors that are part of the interface. `str()` of one is a sentence for a person."""

    code = "error"


@dataclass(frozen=True)
class FieldProblem:
    """One thing wrong with one field of a request."""

    field: str
    """Dotted path, such as `resources.num_workers`."""
    message: str
    """What was expected, what was given, and the nearest value that would do."""


class InvalidRequest(SlipwayError):
    """The request is understood and can never be carried out as it stands."""

    code = "invalid-request"

    def __init__(self, *problems: FieldProblem) -> None:
        self.problems = problems
        super().__init__("; ".join(f"{problem.field}: {problem.message}" for problem in problems))


class NotFound(SlipwayError):
    """There is no such thing."""

    code = "not-found"


class Conflict(SlipwayError):
    """The request contradicts what is there already."""

    code = "conflict"


class StaleWrite(Conflict):
    """The row was changed by someone else since it was read; read again and decide again."""

    code = "stale-write"


class Unauthenticated(SlipwayError):
    """The request carries no token, or one that is not known, has expired or was revoked."""

    code = "unauthenticated"


class Forbidden(SlipwayError):
    """Whoever asks is known, and may not do this."""

    code = "forbidden"


class TemporaryError(SlipwayError):
    """An outside system is away or overloaded. Nothing is lost; the next tick tries again."""

    code = "temporarily-unavailable"


class PermanentError(SlipwayError):
    """An outside system refused what we asked, and would again."""

    code = "refused"
