"""A whole control plane in one object, and what to ask of it: real ledger and storage, fakes of what is remote."""

import io
import itertools
import shutil
import zipfile
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from platform_app.adapters.database import Database
from platform_app.adapters.shared_storage import SharedStorage
from platform_app.api.services import Services
from platform_app.domain.job import Job
from platform_app.domain.team import DEFAULT_TEAM, Principal, Team, token_digest
from platform_app.launch import DedicatedContext, LaunchContext
from platform_app.ports import JobStore, RayJobStatus
from platform_app.reconciler import DeploymentPass, JobPass, OveruseWatch, Reconciler
from platform_app.services.cluster import cluster_view
from platform_app.services.deployments import Deployments
from platform_app.services.explain import Explain
from platform_app.services.jobs import Jobs
from platform_app.services.lineage import Lineage
from platform_app.services.logs import Logs
from platform_app.services.models import Models
from platform_app.services.packages import Packages
from platform_app.services.ray_door import RayDoor
from platform_app.services.teams import Teams
from platform_app.specs import (
    AttemptReport,
    ClusterChoice,
    CommandSpec,
    Role,
    SweepSpec,
    TrainSpec,
    load_catalog,
    report_path,
)
from tests.fakes import AwayRegistry, AwayServing, FakeClock, FakeCluster, FakeHeldGpus, FakeRunner, FakeSigns
from tests.fakes_serving import FakePredictions

TOKEN = "a-token"
"""An admin's, of the settings."""
ADMIN = Principal(DEFAULT_TEAM, Role.ADMIN, "of-the-settings")


def train_spec(**fields) -> TrainSpec:
    """Give a training run of one worker, but for the fields given."""
    return TrainSpec(**{"name": "digits", "workload": "jobs.workloads.digits:make", **fields})


def sweep_spec(**fields) -> SweepSpec:
    """Give a sweep, but for the fields given."""
    space = {"lr": {"type": "loguniform", "low": 1e-4, "high": 1e-1}}
    return SweepSpec(
        **{"kind": "sweep", "name": "sweep", "workload": "jobs.workloads.digits:make", "space": space, **fields}
    )


def command_spec(**fields) -> CommandSpec:
    """Give a command that holds one CPU, but for the fields given."""
    return CommandSpec(**{"kind": "command", "name": "mine", "entrypoint": "python train.py", **fields})


def a_zip(name: str = "mine.py") -> bytes:
    """Give a zip with one file."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, "x = 1\n")
    return buffer.getvalue()


@dataclass
class ControlPlane:
    """A control plane without HTTP: real ledger and storage, fake Ray, MLflow and Serve, a clock that tests move."""

    folder: Path
    template: Path
    """A migrated SQLite database to begin with."""
    store: JobStore = None
    clock: FakeClock = field(default_factory=FakeClock)
    runner: FakeRunner = field(default_factory=FakeRunner)
    dedicated: FakeRunner = field(default_factory=FakeRunner)
    """Runs the jobs on clusters of their own."""
    no_kubernetes: bool = False
    """Whether the platform knows of none from its next start on."""
    signs: FakeSigns = field(default_factory=FakeSigns)
    held: FakeHeldGpus = field(default_factory=FakeHeldGpus)
    registry: AwayRegistry = field(default_factory=AwayRegistry)
    serving: AwayServing = field(default_factory=AwayServing)
    cluster: FakeCluster = field(default_factory=FakeCluster)
    predictions: FakePredictions = field(default_factory=FakePredictions)

    def __post_init__(self) -> None:
        path = self.folder / "platform.db"
        shutil.copy(self.template, path)
        self.url = f"sqlite:///{path}"
        self.database = Database(self.url)
        self.store = self.store or self.database.jobs
        self.root = str(self.folder / "storage")
        self.storage = SharedStorage(self.root)
        self.catalog = load_catalog()
        dedicated = DedicatedContext(image="slipway:0", cuda_image="slipway-cuda:0")
        self.context = LaunchContext(storage=self.root, tracking_uri="http://mlflow", dedicated=dedicated)
        numbers = itertools.count(1)
        self.teams = Teams(self.database.teams, [token_digest(TOKEN)], self.clock)
        for team in self.catalog.teams:
            self.database.teams.add(Team(team.name, self.clock.now()))
        self.jobs = Jobs(
            self.store,
            self.database.deployments,
            self.database.teams,
            self.storage,
            self.registry,
            self.catalog,
            self.context,
            self.clock,
            new_id=lambda name: f"{name}-{next(numbers):06}",
        ).of(ADMIN)
        self.logs = Logs(self.store, self.runners, self.storage, sleep=self._sleep).of(ADMIN)
        self.models = Models(self.registry, self.database.deployments)
        self.deployments = Deployments(self.database.deployments, self.registry, self.clock)
        self.reconciler = self.new_reconciler("first")

    @property
    def runners(self) -> dict[ClusterChoice, FakeRunner]:
        shared = {ClusterChoice.SHARED: self.runner}
        return shared if self.no_kubernetes else {**shared, ClusterChoice.DEDICATED: self.dedicated}

    @property
    def services(self) -> Services:
        packages = Packages(self.storage, limit_bytes=100_000)
        return Services(
            jobs=self.jobs,
            explain=self.explain,
            logs=self.logs,
            models=self.models,
            deployments=self.deployments,
            lineage=Lineage(self.database.deployments, self.registry),
            packages=packages,
            ray_door=RayDoor(self.store, self.jobs, self.logs, packages, self.clock),
            predictions=self.predictions,
            teams=self.teams,
            cluster=partial(cluster_view, self.catalog, self.cluster),
            missing=lambda: self.database.missing(self.clock.now()),
        )

    @property
    def explain(self) -> Explain:
        return Explain(
            self.store,
            self.database.deployments,
            self.database.teams,
            self.runners,
            self.storage,
            self.catalog,
            self.cluster,
            self.clock,
            lambda: self.database.missing(self.clock.now()),
            self.signs,
        ).of(ADMIN)

    def new_reconciler(self, holder: str) -> Reconciler:
        """Start a control plane's reconciler, as a new process would."""
        watch = OveruseWatch(self.held, self.store, self.database.teams, self.clock)
        jobs = JobPass(
            self.store,
            self.database.deployments,
            self.database.teams,
            self.runners,
            self.storage,
            self.catalog,
            self.context,
            self.clock,
            self.signs,
            watch,
        )
        deployments = DeploymentPass(
            self.database.deployments, self.serving, self.registry, "http://mlflow", self.teams.digests, self.clock
        )
        return Reconciler(jobs, deployments, self.database.lease, holder, self.clock)

    def restart(self) -> None:
        """Replace the reconciler by that of a new process, once the lease of the old one has run out."""
        self.clock.advance(60)
        self.reconciler = self.new_reconciler(f"restarted at {self.clock.now()}")

    def tick(self, seconds: float = 1) -> None:
        """Let time pass, then make one pass."""
        self.clock.advance(seconds)
        self.reconciler.tick()

    def job(self, job_id: str) -> Job:
        """Read a job from the ledger."""
        job = self.store.get(job_id)
        assert job is not None
        return job

    def submit(self, **fields) -> str:
        """Submit a training run and give its id."""
        return self.jobs.submit(train_spec(**fields)).id

    def running(self, **fields) -> str:
        """Give the id of a job that runs its first attempt."""
        job_id = self.submit(**fields)
        self.tick()
        self.runner.begin(f"{job_id}-1")
        self.tick()
        return job_id

    def end(self, job_id: str, status: RayJobStatus = RayJobStatus.SUCCEEDED, message: str = "") -> None:
        """Let a job's newest attempt end, and let the platform see it."""
        self.runner.finish(self.job(job_id).submission_id or "", status, message)
        self.tick()

    def report(self, job_id: str, attempt: int, **fields) -> None:
        """Write an attempt's report, as its driver would."""
        path = Path(report_path(self.root, job_id, attempt))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(AttemptReport(**fields).model_dump_json())

    async def _sleep(self, seconds: float) -> None:
        """Pass the time of whoever waits for a log: the platform goes on working meanwhile."""
        self.tick(seconds)
