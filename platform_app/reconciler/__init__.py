"""The one door through which desired state becomes effects: observe, decide, act, record."""

from platform_app.reconciler.deployments import DeploymentPass
from platform_app.reconciler.jobs import JobPass
from platform_app.reconciler.loop import Reconciler
from platform_app.reconciler.overuse import OveruseWatch

__all__ = ["DeploymentPass", "JobPass", "OveruseWatch", "Reconciler"]
