"""Deployments as Ray Serve knows them, asked by name from anywhere in the cluster."""

import asyncio
from collections.abc import Awaitable, Callable
from http import HTTPStatus

from ray import serve as ray_serve
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle
from ray.serve.schema import ApplicationStatus

from serve.app import APPLICATION_PREFIX
from serve.exchange import Answer, Question


class Models:
    """All deployments of the cluster. A question waits for a replica where there is none."""

    def __init__(self) -> None:
        self._handles: dict[str, DeploymentHandle] = {}

    async def ask(self, deployment: str, version: str, question: Question) -> Answer:
        """Have a deployment answer whom the token lets in."""
        return await self._asked(deployment, question, lambda handle: handle.ask.remote(question, version))

    async def answer(self, deployment: str, question: Question) -> Answer:
        """Have a deployment answer whoever was let in already."""
        return await self._asked(deployment, question, lambda handle: handle.answer.remote(question))

    async def describe(self, deployment: str, version: str, question: Question) -> Answer:
        """Have a deployment describe itself, as `ModelMetadataResponse`."""
        return await self._asked(deployment, question, lambda handle: handle.describe.remote(question, version))

    async def is_ready(self, deployment: str) -> bool:
        """Say whether a deployment answers; one that is scaled to zero does, and is not woken by this."""
        found = (await asyncio.to_thread(ray_serve.status)).applications.get(APPLICATION_PREFIX + deployment)
        return found is not None and found.status == ApplicationStatus.RUNNING

    async def _asked(
        self, deployment: str, question: Question, ask: Callable[[DeploymentHandle], Awaitable[Answer]]
    ) -> Answer:
        if deployment not in self._handles:
            try:
                # It asks Serve's controller, and waits.
                found = await asyncio.to_thread(ray_serve.get_app_handle, APPLICATION_PREFIX + deployment)
            except RayServeException:
                return Answer(HTTPStatus.NOT_FOUND, error=f"there is no deployment {deployment!r}")
            self._handles[deployment] = found
        handle = self._handles[deployment]
        try:
            # By the name of a model Serve finds a replica that has it in memory.
            name = question.model_id
            return await ask(handle.options(multiplexed_model_id=name) if name else handle)
        except Exception as error:
            # A handle of an application that was deleted, and maybe made anew, is of no use.
            self._handles.pop(deployment, None)
            return Answer(HTTPStatus.SERVICE_UNAVAILABLE, error=f"deployment {deployment!r} does not answer: {error}")
