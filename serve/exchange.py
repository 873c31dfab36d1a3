"""One question to a served model and its answer, as bytes with what is needed to read them.

This is what passes between the doors (HTTP, gRPC, a handle of another replica) and a model, so that whatever decides
which version answers need not read tensors.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus

Headers = tuple[tuple[bytes, bytes], ...]


def lineage(deployment: str, version: str, revision: int, model: str = "") -> Headers:
    """Give the headers of an answer that say who gave it; `model` where it is not the deployment's own."""
    return (
        (b"slipway-deployment", deployment.encode()),
        *(((b"slipway-model", model.encode()),) if model else ()),
        (b"slipway-model-version", version.encode()),
        (b"slipway-revision", str(revision).encode()),
    )


MODEL_ID_HEADER = "serve_multiplexed_model_id"
"""Ray Serve's, of which of a deployment's models a request is for; proxies prefer hyphens, which do as well."""
_MODEL_ID = frozenset({MODEL_ID_HEADER.encode(), MODEL_ID_HEADER.replace("_", "-").encode()})


def model_id(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """Give the name of the multiplexed model that a request is for, empty where it is for the deployment's own."""
    return next((value.decode("latin-1") for name, value in headers if name in _MODEL_ID), "")


class Wire(StrEnum):
    """How a question is written, and so its answer."""

    REST = "rest"
    """The protocol's JSON, with or without binary tensors."""
    GRPC = "grpc"
    """`ModelInferRequest` and `ModelInferResponse`, serialized."""
    ROWS = "rows"
    """Plain JSON rows."""


@dataclass(frozen=True, slots=True)
class Question:
    """One inference request."""

    wire: Wire
    body: bytes
    json_length: int | None = None
    """Of a REST body: how many bytes are JSON, where binary tensors follow."""
    headers: Headers = ()
    """As they came, names in lower case; of gRPC, the metadata."""

    def header(self, name: bytes) -> str:
        """Give a header's value, empty where it is not there."""
        return next((value.decode("latin-1") for known, value in self.headers if known == name), "")

    @property
    def model_id(self) -> str:
        """Name the multiplexed model that it is for, empty where it is for the deployment's own."""
        return model_id(self.headers)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model said, or why it did not."""

    status: HTTPStatus
    body: bytes = b""
    json_length: int | None = None
    """As in the question."""
    error: str = ""
    """A sentence for the client, where the status is no success; the body is empty then."""
    headers: Headers = ()
    """Which deployment and version answered."""
    seconds: float = 0.0
    """How long the version took, in its own replica."""
    score: float | None = None
    """What is predicted for the first row, as a number to compare versions by; None while no version is tried."""


class Refusal(Exception):
    """A question that gets no prediction. `str()` of one is a sentence for the client."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        self.status = status
        super().__init__(message)
