"""A model that a replica holds in memory, ready to answer: loaded, warmed up, with a queue of its own for batches."""

import weakref
from collections.abc import Callable
from time import perf_counter

from platform_app.specs import ServedModel
from serve.batching import Batcher
from serve.model import LoadedModel
from serve.protocol import ModelMetadata
from serve.trial import require_fit
from serve.warm_up import by_rows, warm_up

Load = Callable[[ServedModel], LoadedModel]

_LOST = 10
"""A call that takes so many times the timeout, when all who asked are long gone, is taken for lost."""
_LOST_SECONDS = 300.0
"""At least: a slow batch is no reason to lose a replica."""


class Resident:
    """A model in memory. What it holds is let go when nobody has it any more, or at `close`.

    It has no `__del__`, which Ray Serve's multiplexing would call while requests still wait for the model's answer.
    """

    def __init__(self, served: ServedModel, load: Load, clock: Callable[[], float] = perf_counter) -> None:
        """Load a model and warm it up.

        Args:
            served: which.
            load: loads it.
            clock: counts the seconds of its calls.

        Raises:
            ModelDoesNotLoad: it is not there, cannot be loaded, fails on its own example, or does not fit the
                champion that it would replace.
        """
        model = load(served)
        try:
            if served.champion is not None:
                require_fit(served, model.metadata)
            seconds = warm_up(model, served.spec.batching)
        except Exception:
            model.close()
            raise
        self.name = served.spec.model
        self.version = str(served.version)
        self.metadata: ModelMetadata = model.metadata
        timeout = served.spec.request_timeout_seconds
        batcher = Batcher(model.predict, served.spec.batching, by_rows(model.metadata), timeout, seconds, clock)
        self.predict = batcher.predict
        self._batcher = batcher
        self._lost_seconds = max(_LOST_SECONDS, _LOST * timeout)
        self.close = weakref.finalize(self, _let_go, batcher, model)

    def check_health(self) -> None:
        """Raise RuntimeError where a call of the model does not come back: all that are asked later wait behind it."""
        if (seconds := self._batcher.busy_seconds) > self._lost_seconds:
            raise RuntimeError(f"{self.name} version {self.version}: a call has not come back for {seconds:.0f} s")


def _let_go(batcher: Batcher, model: LoadedModel) -> None:
    batcher.close()
    model.close()
