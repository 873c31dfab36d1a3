"""The other workers of a trial that has several: actors beside Tune's own, in the trial's placement group.

Tune's actor is the worker of rank 0 and holds the others. All of a trial's workers are asked for at once and given
back at once, however it ends, so trials never wait for each other's workers; those of a reused actor stay with it.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import ray
import torch
import torch.distributed as dist
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from jobs.failure import JobFailed, UserCodeFailed, describe, tells_of_a_lost_peer
from jobs.pulse import Every
from platform_app.specs import WorkerResources

Work = Callable[[int], None]
"""What each worker does, told its rank."""

_PATIENCE_SECONDS = 10.0
"""How long a worker may stay in a call to one that is lost: NCCL, and a machine that is gone, let it wait for ever."""

_peers: list[Any] = []
"""Of this process; they wait for its next trial."""


class TrialStopped(Exception):
    """Tune has stopped the trial; raised on the workers that Tune does not know."""


@contextmanager
def beside(resources: WorkerResources, work: Work) -> Iterator[None]:
    """Have the other workers do their part while the body does that of rank 0, joined by torch's process group.

    Args:
        resources: of the trial; with one worker the body is alone.
        work: the others' part. It comes to the same end as the body's: done, refused, or `TrialStopped`.

    Raises:
        UserCodeFailed: another worker's user code raised.
        RayActorError: another worker is lost.
    """
    if resources.max_workers == 1:
        yield
        return
    # What Tune stops ends at once, but tells the others first; Tune's default of 2 s is short for many workers.
    os.environ["TUNE_FUNCTION_THREAD_TIMEOUT_S"] = "30"
    peers = _started(resources)
    world_size, backend = resources.max_workers, _backend(resources)
    host = ray.util.get_node_ip_address()
    store = dist.TCPStore(host, 0, world_size, is_master=True, wait_for_workers=False)  # type: ignore[attr-defined]  # torch does not list it
    parts = [
        peer.work.remote(rank, world_size, backend, (host, store.port), work) for rank, peer in enumerate(peers, 1)
    ]
    try:
        with Every(_Watch(parts).look, name="peers"), _process_group(store, 0, world_size, backend):
            yield
    except Exception as error:
        # Its own error may be no more than that it can no longer reach one that had another.
        theirs = _error_of_another(parts) if tells_of_a_lost_peer(error) else None
        while _peers:
            ray.kill(_peers.pop())
        raise theirs or error from None


class _Peer:
    """A worker of rank 1 or more."""

    def ready(self) -> None:
        """Return, once there."""

    def work(self, rank: int, world_size: int, backend: str, store: tuple[str, int], work: Work) -> None:
        joined = dist.TCPStore(*store, world_size)  # type: ignore[attr-defined]
        with _process_group(joined, rank, world_size, backend):
            try:
                work(rank)
            except (TrialStopped, JobFailed):
                return  # rank 0 knows as much
            except Exception as error:
                if tells_of_a_lost_peer(error):
                    raise
                # A user's exception may not survive pickling.
                raise UserCodeFailed(describe(error)) from None


class _Watch:
    """Gets rank 0 out of its calls to the others when one of them has failed."""

    def __init__(self, parts: Sequence[Any]) -> None:
        self._parts = parts
        self._failed_at: float | None = None

    def look(self) -> None:
        if self._failed_at is None:
            if error := _error_of_another(self._parts, patience_seconds=0):
                self._failed_at = time.monotonic()
                print(f"another worker of this trial failed: {str(error).splitlines()[0]}", flush=True)  # noqa: T201
                # gloo's connections are closed when a process ends, and not before.
                for peer in _peers:
                    ray.kill(peer)
        elif time.monotonic() - self._failed_at > _PATIENCE_SECONDS:
            os._exit(1)  # nothing else gets a thread out of such a call; Tune starts the trial again


def _started(resources: WorkerResources) -> list[Any]:
    if not _peers:
        group = ray.util.get_current_placement_group()
        peer = ray.remote(_Peer)
        for rank in range(1, resources.max_workers):
            options = peer.options(
                num_cpus=resources.cpus_per_worker,
                num_gpus=resources.gpus_per_worker,
                scheduling_strategy=PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=rank),
            )
            _peers.append(options.remote())
    ray.get([peer.ready.remote() for peer in _peers])
    return _peers


def _backend(resources: WorkerResources) -> str:
    return "nccl" if resources.gpus_per_worker >= 1 and torch.cuda.is_available() else "gloo"


@contextmanager
def _process_group(store: Any, rank: int, world_size: int, backend: str) -> Iterator[None]:
    dist.init_process_group(backend, store=store, rank=rank, world_size=world_size)
    try:
        yield
    finally:
        dist.destroy_process_group()


def _error_of_another(parts: Sequence[Any], patience_seconds: float = 15.0) -> Exception | None:
    """Give why another worker ended, if one failed: a user's error first, and last that of one that lost its peers."""
    ended, _ = ray.wait(parts, num_returns=len(parts), timeout=patience_seconds)
    errors = []
    for part in ended:
        try:
            ray.get(part)
        except ray.exceptions.RayTaskError as error:
            errors.append(error.cause if isinstance(error.cause, UserCodeFailed) else error)
        except ray.exceptions.RayError as error:
            errors.append(error)
    kinds = (UserCodeFailed, ray.exceptions.RayActorError)
    reasons = [error for kind in kinds for error in errors if isinstance(error, kind)]
    return next(iter(reasons or errors), None)
