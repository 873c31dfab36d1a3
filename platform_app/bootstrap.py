"""The composition root: the one place where ports meet adapters and where it matters where we run."""

from fastapi import FastAPI

from platform_app.adapters.clock import SystemClock
from platform_app.adapters.database import Database
from platform_app.adapters.database import migrate as migrate_database
from platform_app.adapters.kubernetes import KubeRayJobs, KubernetesApi, KubernetesSigns
from platform_app.adapters.mlflow_registry import MlflowRegistry
from platform_app.adapters.ray_cluster import RayCluster
from platform_app.adapters.ray_jobs import RayJobs, auth_headers
from platform_app.adapters.ray_predictions import RayPredictions
from platform_app.adapters.ray_serve import RayServing
from platform_app.adapters.ray_state import RayState
from platform_app.adapters.shared_storage import SharedStorage
from platform_app.api.app import create_app
from platform_app.api.services import Services
from platform_app.domain.team import Team
from platform_app.launch import DedicatedContext, LaunchContext
from platform_app.local.stock import MarketCluster
from platform_app.ports import Clock, Cluster, JobRunner
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
from platform_app.settings import Settings
from platform_app.specs import ClusterChoice, load_catalog


def migrate(settings: Settings) -> None:
    """Bring the database to this release's schema, and to the catalog's teams; safe when several do it at once."""
    migrate_database(settings.database_url)
    database, now = Database(settings.database_url), SystemClock().now()
    for team in load_catalog(settings.catalog).teams:
        database.teams.add(Team(team.name, now))
    database.close()


def reconciler(settings: Settings, holder: str) -> Reconciler:
    """Put a reconciler together; `holder` names this process among all that may ever ask for the lease."""
    clock, database, context = SystemClock(), Database(settings.database_url), _context(settings)
    kubernetes = _kubernetes(settings)
    jobs = JobPass(
        database.jobs,
        database.deployments,
        database.teams,
        _runners(settings, kubernetes),
        SharedStorage(settings.storage),
        load_catalog(settings.catalog),
        context,
        clock,
        _signs(settings, kubernetes, clock),
        OveruseWatch(RayState(settings.ray_dashboard_url, auth_headers()), database.jobs, database.teams, clock),
    )
    deployments = DeploymentPass(
        database.deployments,
        RayServing(),
        MlflowRegistry(settings.tracking_uri),
        settings.tracking_uri,
        Teams(database.teams, settings.token_digests, clock).digests,
        clock,
    )
    return Reconciler(jobs, deployments, database.lease, holder, clock)


def api(settings: Settings) -> FastAPI:
    """Put the HTTP API together."""
    clock, database, context = SystemClock(), Database(settings.database_url), _context(settings)
    catalog, cluster, kubernetes = load_catalog(settings.catalog), _cluster(settings), _kubernetes(settings)
    storage, registry = SharedStorage(settings.storage), MlflowRegistry(settings.tracking_uri)
    runners, missing = _runners(settings, kubernetes), lambda: database.missing(clock.now())
    jobs = Jobs(database.jobs, database.deployments, database.teams, storage, registry, catalog, context, clock)
    logs, packages = Logs(database.jobs, runners, storage), Packages(storage, settings.package_limit_bytes)
    services = Services(
        jobs=jobs,
        explain=Explain(
            database.jobs,
            database.deployments,
            database.teams,
            runners,
            storage,
            catalog,
            cluster,
            clock,
            missing,
            _signs(settings, kubernetes, clock),
        ),
        logs=logs,
        models=Models(registry, database.deployments),
        deployments=Deployments(database.deployments, registry, clock),
        lineage=Lineage(database.deployments, registry),
        packages=packages,
        ray_door=RayDoor(database.jobs, jobs, logs, packages, clock),
        predictions=RayPredictions(),
        teams=Teams(database.teams, settings.token_digests, clock),
        cluster=lambda: cluster_view(catalog, cluster),
        missing=missing,
    )
    return create_app(services)


def _context(settings: Settings) -> LaunchContext:
    dedicated = DedicatedContext(settings.ray_image, settings.ray_cuda_image, settings.kueue_queue)
    return LaunchContext(
        storage=settings.storage,
        tracking_uri=settings.tracking_uri,
        dedicated=None if settings.kubernetes == "none" else dedicated,
    )


def _kubernetes(settings: Settings) -> KubernetesApi | None:
    match settings.kubernetes:
        case "in-cluster":
            return KubernetesApi.in_cluster()
        case "kubeconfig":
            return KubernetesApi.from_kubeconfig(settings.kubeconfig, settings.kube_context)
        case "none":
            return None


def _signs(settings: Settings, kubernetes: KubernetesApi | None, clock: Clock) -> KubernetesSigns | None:
    return KubernetesSigns(kubernetes, clock, settings.kueue_queue is not None) if kubernetes else None


def _cluster(settings: Settings) -> Cluster:
    """Give the shared cluster's workers; on one machine with what the simulated market says of them."""
    return MarketCluster(RayCluster(), settings.market_dir) if settings.market_dir else RayCluster()


def _runners(settings: Settings, kubernetes: KubernetesApi | None) -> dict[ClusterChoice, JobRunner]:
    """Say where jobs run, by what they ask for: the one place in which that is decided."""
    runners: dict[ClusterChoice, JobRunner] = {
        ClusterChoice.SHARED: RayJobs(settings.ray_dashboard_url, auth_headers())
    }
    if kubernetes:
        runners[ClusterChoice.DEDICATED] = KubeRayJobs(kubernetes)
    return runners
