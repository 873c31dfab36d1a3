"""Deployments asked for predictions from inside the cluster, by Serve's handles."""

from collections.abc import Sequence
from http import HTTPStatus

from platform_app.errors import TemporaryError
from platform_app.ports import Prediction
from serve.deployments import Models
from serve.exchange import Question, Wire


class RayPredictions:
    """The port `ModelPredictions`, from inside the cluster."""

    def __init__(self) -> None:
        self._models = Models()

    async def predict(self, deployment: str, rows: bytes, headers: Sequence[tuple[bytes, bytes]]) -> Prediction:
        """Ask a deployment that is there; waits for a replica where it is scaled to zero. Raises TemporaryError."""
        answer = await self._models.answer(deployment, Question(Wire.ROWS, rows, headers=tuple(headers)))
        if answer.status is HTTPStatus.SERVICE_UNAVAILABLE:
            raise TemporaryError(answer.error)
        signed = {name.decode(): value.decode() for name, value in answer.headers}
        return Prediction(int(answer.status), answer.body, answer.error, signed)
