"""Several models in one process: those of `platform_app.specs.MultiplexSpec`, each loaded when it is first asked for.

`ray.serve.multiplexed` keeps the ones that were asked last, and tells Serve's routers which those are: of several
replicas they choose one that has the model, where a request comes by a Serve handle or Serve's own proxy. HAProxy knows
nothing of models and takes any.
"""

import asyncio
import weakref
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from time import perf_counter

from ray import serve as ray_serve

from platform_app.specs import ServedModel
from serve.exchange import Refusal
from serve.resident import Load, Resident

Cached = Callable[[Callable[[str], Awaitable[Resident]], int], Callable[[str], Awaitable[Resident]]]

FORGIVEN_SECONDS = 30.0
"""After which a model that did not load is tried again: each try puts another out of memory."""


def by_ray(load: Callable[[str], Awaitable[Resident]], most: int) -> Callable[[str], Awaitable[Resident]]:
    """Keep what was asked last in memory, by Ray Serve; in a replica alone."""
    cached: Callable[[str], Awaitable[Resident]] = ray_serve.multiplexed(max_num_models_per_replica=most)(load)
    return cached


class Multiplexed:
    """The other models of one replica, by name."""

    def __init__(
        self, served: ServedModel, load: Load, cached: Cached = by_ray, clock: Callable[[], float] = perf_counter
    ) -> None:
        """Take note of what there is; nothing is loaded.

        Args:
            served: whose `spec.multiplexed` names them; None: there are none.
            load: loads one.
            cached: keeps a number of what a loader gives, by name.
            clock: counts seconds.
        """
        spec = served.spec.multiplexed
        self._deployment = served.deployment
        self._served = {node.model: served.other(node) for node in (spec.models if spec else ())}
        self._load = load
        self._clock = clock
        self._failed: dict[str, tuple[float, str]] = {}
        self._asked: dict[str, asyncio.Future[Resident]] = {}
        self._held: weakref.WeakSet[Resident] = weakref.WeakSet()

        async def loaded(name: str) -> Resident:
            return await self._loaded(name)

        self._cached = cached(loaded, spec.max_num_models_per_replica if spec else 1)

    def version(self, name: str) -> str:
        """Give the version that a name stands for. Raises Refusal for a name that is not there."""
        if name not in self._served:
            some = self._served and f"{len(self._served)} models beside its own, such as {next(iter(self._served))}"
            told = f"{self._deployment} has {some or 'one model alone'}; got {name!r}"
            raise Refusal(HTTPStatus.NOT_FOUND, told)
        return str(self._served[name].version)

    async def get(self, name: str) -> Resident:
        """Give a model, in memory; waits while it is loaded.

        Raises:
            Refusal: there is none of that name, or it does not load.
        """
        self.version(name)
        until, reason = self._failed.get(name, (0.0, ""))
        if reason and self._clock() < until:
            raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, reason)
        if name not in self._asked:
            self._asked[name] = asyncio.ensure_future(self._cached(name))
            self._asked[name].add_done_callback(lambda _: self._asked.pop(name))
        # Whoever asked may give up: the model is loaded all the same, for whoever asks next.
        return await asyncio.shield(self._asked[name])

    async def _loaded(self, name: str) -> Resident:
        try:
            resident = await asyncio.to_thread(Resident, self._served[name], self._load, self._clock)
        except Exception as error:
            reason = f"{self._deployment} cannot ask {name}: {error}"
            self._failed[name] = (self._clock() + FORGIVEN_SECONDS, reason)
            raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, reason) from error
        self._held.add(resident)
        return resident

    def check_health(self) -> None:
        """Raise where a call of one does not come back."""
        for resident in tuple(self._held):
            resident.check_health()

    def close(self) -> None:
        """Let go of all."""
        for resident in tuple(self._held):
            resident.close()
