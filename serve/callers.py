"""Who may ask a served model: those with a token that the platform knows."""

import hashlib
import hmac
from collections.abc import Iterable
from http import HTTPStatus

from serve.exchange import Refusal


class Callers:
    """Those who may ask, known by the SHA-256 (hexadecimal) of their tokens."""

    def __init__(self, token_digests: Iterable[str] = ()) -> None:
        self._digests = tuple(digest.encode() for digest in token_digests)

    def admit(self, authorization: str) -> None:
        """Raise Refusal for a caller without a known token.

        Args:
            authorization: the header of that name, or gRPC's metadata.
        """
        scheme, _, token = authorization.partition(" ")
        given = hashlib.sha256(token.strip().encode()).hexdigest().encode()
        # All are compared, so that the time taken tells nothing.
        known = [hmac.compare_digest(given, digest) for digest in self._digests]
        if scheme.lower() != "bearer" or not any(known):
            raise Refusal(HTTPStatus.UNAUTHORIZED, "send an API token of the platform: Authorization: Bearer TOKEN")
