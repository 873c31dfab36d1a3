"""What tests plan to go wrong, and what they can read of the requests that came."""

import threading
from dataclasses import dataclass, field
from typing import Any

from tests.kube.standin.api.access import User, Wish, denied
from tests.kube.standin.api.errors import ApiError


@dataclass(frozen=True)
class Seen:
    """One request that the server answered."""

    user: str
    verb: str
    """RBAC's: get, list, watch, create, update, patch, delete, deletecollection; or `discover`."""
    group: str
    resource: str
    namespace: str | None
    name: str
    code: int
    """HTTP status of the answer."""
    body: Any = None

    @property
    def right(self) -> tuple[str, str, str]:
        """What RBAC must grant for it: verb, API group, resource."""
        return self.verb, self.group, self.resource


@dataclass
class Fault:
    """A plan: the requests that match are slow, refused, or cut off."""

    verb: str | None = None
    resource: str | None = None
    namespace: str | None = None
    name: str | None = None
    user: str | None = None
    times: int | None = None
    """How many requests it is for; None for all."""
    delay_seconds: float = 0.0
    error: ApiError | None = None
    """What is answered; None lets the request through."""
    forbid: bool = False
    """Refuse as RBAC does, naming the caller, the verb and the resource."""
    cut: bool = False
    """Close the connection without an answer, as a server that goes away."""
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def takes(self, user: User, wish: Wish) -> bool:
        """Say whether a request is meant, and count it."""
        wanted = (self.verb, wish.verb), (self.resource, wish.resource), (self.namespace, wish.namespace)
        wanted = (*wanted, (self.name, wish.name), (self.user, user.name))
        if any(plan is not None and plan != actual for plan, actual in wanted):
            return False
        with self._lock:
            if self.times is None:
                return True
            self.times -= 1
            return self.times >= 0

    def refusal(self, user: User, wish: Wish) -> ApiError | None:
        """Give the error that it answers with; None lets the request through."""
        return denied(user, wish) if self.forbid else self.error
