"""A version that is tried, beside the one that leads: whether it fits, how it is asked, and how the two compare."""

import math
import zlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from platform_app.specs import ServedModel
from serve.exchange import Answer, Question
from serve.model import ModelDoesNotLoad
from serve.protocol import Array, ModelMetadata, TensorMetadata
from serve.rollout import candidate_deployment
from serve.signature import tensors_of


def require_fit(served: ServedModel, metadata: ModelMetadata) -> None:
    """Compare a candidate's signature with that of the version whose place it would take.

    Args:
        served: the candidate; its `champion` is that version.
        metadata: what the candidate takes and gives.

    Raises:
        ModelDoesNotLoad: callers would have to change what they send, or would miss an output.
    """
    import mlflow

    signature = mlflow.models.get_model_info(f"models:/{served.spec.model}/{served.champion}").signature
    if signature is None:
        return
    misfit = _misfit(tensors_of(signature.inputs, "input"), metadata.inputs, "takes") or _misfit(
        tensors_of(signature.outputs, "output"),
        tuple(one for one in metadata.outputs if one.name in _names(tensors_of(signature.outputs, "output"))),
        "gives",
    )
    if misfit:
        raise ModelDoesNotLoad(f"{served.spec.model} version {served.version} {misfit} of version {served.champion}")


def _misfit(champion: tuple[TensorMetadata, ...], own: tuple[TensorMetadata, ...], verb: str) -> str:
    """Say what is other than the champion's, where both are known."""
    if not champion or not own or _wire(champion) == _wire(own):
        return ""
    return f"{verb} {_told(own)}, which does not fit the {_told(champion)}"


def _wire(tensors: tuple[TensorMetadata, ...]) -> dict[str, tuple[Any, ...]]:
    return {one.name: (one.datatype, one.shape) for one in tensors}


def _names(tensors: tuple[TensorMetadata, ...]) -> set[str]:
    return {one.name for one in tensors}


def _told(tensors: tuple[TensorMetadata, ...]) -> str:
    return ", ".join(f"{one.name} {one.datatype} {list(one.shape)}" for one in tensors)


def candidate_asker(revision: int) -> Callable[[Question], Awaitable[Answer]]:
    """Give what asks a candidate's replicas from a replica of the same application."""
    from ray import serve as ray_serve

    handle = ray_serve.get_deployment_handle(candidate_deployment(revision))

    async def ask(question: Question) -> Answer:
        answer: Answer = await handle.answer_counted.remote(question)
        return answer

    return ask


def score_of(outputs: Mapping[str, Array]) -> float | None:
    """Give the first row's prediction as a number: of a vector, its largest element's position; of text, its checksum.

    None where there is no number: no output, no row, NaN.
    """
    first = next((array for array in outputs.values() if array.size), None)
    if first is None:
        return None
    row = first[0] if first.ndim else first
    if getattr(row, "ndim", 0) and row.size > 1:
        return float(row.argmax())
    value = row.item() if hasattr(row, "item") else row
    if isinstance(value, str | bytes):
        return float(zlib.crc32(value.encode() if isinstance(value, str) else value))
    number = float(value)
    return None if math.isnan(number) else number
