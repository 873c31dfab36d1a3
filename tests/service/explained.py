"""The corpus of injected causes: what is done to a control plane's outside, and what must be said of the job then."""
# messages of other programs are long

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from platform_app.domain.explain import Sign, Source
from platform_app.domain.job import Reason
from platform_app.domain.supply import GroupCount
from platform_app.domain.team import DEFAULT_TEAM
from platform_app.ports import RayJobStatus
from platform_app.specs import AttemptStatus, Overuse, Quota
from tests.control_plane import ControlPlane, command_spec, train_spec

Inject = Callable[[ControlPlane], str]
"""Does something to a control plane, and gives the id of the job that is asked about."""

DEDICATED = {"cluster": "dedicated", "team": "research"}
STOCK = Sign(Source.WORKERS, "OutOfStock", "the market gives 0 of it", "gpu-spot")


@dataclass(frozen=True)
class Case:
    """One injected cause."""

    name: str
    cause: str
    """What the first reason must be."""
    says: str
    """What its sentence must hold."""
    inject: Inject
    blocked: bool = True
    """Whether something is in the way: no wait may then be promised, but where it follows from others' pace."""


def filled(plane: ControlPlane, **fields) -> list[str]:
    """Fill all GPU groups by running jobs."""
    jobs = [plane.submit(resources={"num_workers": 2}, **fields) for _ in range(3)]
    plane.tick()
    for job in jobs:
        plane.runner.begin(f"{job}-1")
    plane.tick()
    return jobs


def behind(plane: ControlPlane) -> str:
    filled(plane)
    job = plane.submit()
    plane.tick()
    return job


def second_in_line(plane: ControlPlane) -> str:
    plane.running(resources={"num_workers": 2})
    plane.running(resources={"num_workers": 2})
    plane.submit(resources={"num_workers": 2}, tier="production-serving")
    return plane.submit()


def quota_full(plane: ControlPlane) -> str:
    plane.database.teams.set_quota(DEFAULT_TEAM, Quota(gpus={"*": 2}))
    plane.running(resources={"num_workers": 2})
    return plane.submit()


def of_a_higher_tier(plane: ControlPlane) -> str:
    filled(plane)
    return plane.submit(tier="training-critical")


def no_tier(plane: ControlPlane) -> str:
    job = plane.submit(tier="training-critical")
    plane.catalog = plane.catalog.model_copy(
        update={"tiers": tuple(t for t in plane.catalog.tiers if t.name != "training-critical")}
    )
    return job


def smaller_catalog(plane: ControlPlane) -> str:
    job = plane.submit(resources={"num_workers": 6})
    groups = tuple(g.model_copy(update={"max_workers": 1}) for g in plane.catalog.worker_groups)
    plane.catalog = plane.catalog.model_copy(update={"worker_groups": groups})
    return job


def making_room(plane: ControlPlane) -> str:
    job = plane.submit(resources={"num_workers": [1, 6]})
    plane.tick()
    plane.runner.begin(f"{job}-1")
    plane.report(job, 1, status=AttemptStatus.RUNNING, num_workers=6)
    plane.tick()
    return plane.submit(resources={"num_workers": 2})


def ray_away(plane: ControlPlane) -> str:
    plane.tick()
    job = plane.submit()
    plane.runner.power.away = True
    return job


def no_reconciler(plane: ControlPlane) -> str:
    job = plane.submit()
    plane.clock.advance(3600)
    return job


def no_kubernetes(plane: ControlPlane) -> str:
    job = plane.jobs.submit(train_spec(**DEDICATED)).id
    plane.no_kubernetes = True
    plane.restart()
    plane.tick()
    return job


def pending(plane: ControlPlane, seconds: float = 1, **fields) -> str:
    job = plane.submit(**fields)
    plane.tick()
    for _ in range(int(seconds // 5)):
        plane.tick(5)
    return job


def with_pip(plane: ControlPlane) -> str:
    return pending(plane, pip=("torchmetrics==1.4",))


def with_slow_pip(plane: ControlPlane) -> str:
    return pending(plane, 200, pip=("torchmetrics==1.4",))


def unsubmitted(plane: ControlPlane) -> str:
    job = plane.jobs.submit(train_spec(**DEDICATED)).id
    plane.dedicated.put_off = "exceeded quota: compute, requested: cpu=8, used: cpu=60, limited: cpu=64"
    plane.tick()
    return job


def waits_for_workers(**counts: GroupCount) -> Inject:
    def inject(plane: ControlPlane) -> str:
        job = plane.running(resources={"num_workers": 2})
        plane.cluster.counts = {name.replace("_", "-"): count for name, count in counts.items()}
        return job

    return inject


def spot_only(plane: ControlPlane) -> str:
    job = plane.running(resources={"num_workers": 2, "market": "spot"})
    plane.cluster.counts = {"gpu-spot": GroupCount(0, 2, plane.clock.now(), (STOCK,))}
    return job


def launching(plane: ControlPlane) -> str:
    job = plane.running(resources={"num_workers": 2})
    plane.cluster.counts = {"gpu-spot": GroupCount(0, 2, plane.clock.now() - timedelta(seconds=5))}
    return job


def dedicated(*signs: Sign) -> Inject:
    def inject(plane: ControlPlane) -> str:
        job = plane.jobs.submit(train_spec(**DEDICATED)).id
        plane.tick()
        plane.signs.known = {f"{job}-1": signs}
        return job

    return inject


def running(done: int | None, seconds_ago: float, output: str = "") -> Inject:
    def inject(plane: ControlPlane) -> str:
        job, began = plane.running(), plane.clock.now()
        plane.clock.advance(100)
        plane.reconciler.tick()
        if done is not None:
            progress = {"done": done, "total": 100, "unit": "steps", "began_at": began, "at": plane.clock.now()}
            plane.report(job, 1, status=AttemptStatus.RUNNING, num_workers=1, progress=progress)
        plane.cluster.counts = {"gpu-spot": GroupCount(1, 0)}
        plane.runner.write(f"{job}-1", output)
        plane.tick(seconds_ago)
        return job

    return inject


def stopping(plane: ControlPlane) -> str:
    job = plane.running()
    plane.jobs.stop(job)
    return job


def ended(
    message: str = "", output: str = "", cause: Reason | None = None, reported: str | None = None, says: str = ""
) -> Inject:
    """End a job as Ray says, with an output, and what its report says of the cause."""

    def inject(plane: ControlPlane) -> str:
        job = plane.running()
        plane.runner.write(f"{job}-1", output)
        if reported:
            plane.report(job, 1, status=AttemptStatus.FAILED, cause=reported, message=says)
        plane.runner.finish(f"{job}-1", RayJobStatus.FAILED, message, cause)
        plane.tick()
        return job

    return inject


def lost_again(reason: str) -> Inject:
    def inject(plane: ControlPlane) -> str:
        job = plane.running(tier="training-critical")
        plane.submit(resources={"num_workers": 6}, tier="production-serving")
        if reason == "cluster":
            plane.runner.lose_all()
        else:
            plane.runner.finish(f"{job}-1", RayJobStatus.FAILED, "Job supervisor actor died: killed")
        plane.tick()
        plane.tick()
        return job

    return inject


def refused(plane: ControlPlane) -> str:
    plane.runner.refusal = "invalid runtime_env"
    return pending(plane)


def past_its_deadline(plane: ControlPlane) -> str:
    job = plane.running(deadline_seconds=60)
    plane.tick(60)
    plane.end(job, RayJobStatus.STOPPED)
    return job


def taking_more_than_declared(plane: ControlPlane) -> str:
    plane.database.teams.set_quota(DEFAULT_TEAM, Quota(overuse=Overuse.STOP))
    job = plane.jobs.submit(command_spec(workers={"num_workers": 1})).id
    plane.tick()
    plane.runner.begin(f"{job}-1")
    plane.held.held[f"{job}-1"] = 2
    for _ in range(5):
        plane.tick()
    plane.end(job, RayJobStatus.STOPPED)
    return job


def stopped(plane: ControlPlane) -> str:
    job = plane.submit()
    plane.jobs.stop(job)
    return job


def succeeded(plane: ControlPlane) -> str:
    job = plane.running()
    plane.runner.write(f"{job}-1", "RuntimeWarning: NCCL was slow\nMemoryError was caught\n")
    plane.end(job)
    return job
