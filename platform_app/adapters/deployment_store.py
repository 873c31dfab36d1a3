"""Desired deployments, in SQL."""

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import Engine, and_, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from platform_app.adapters.tables import deployment_of, deployment_row, deployments
from platform_app.adapters.transactions import transaction
from platform_app.domain.deployment import Deployment, DeploymentState
from platform_app.errors import StaleWrite


class SqlDeploymentStore:
    """`DeploymentStore` in SQL."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def get(self, name: str) -> Deployment | None:
        """Read one deployment."""
        with transaction(self._engine) as connection:
            row = connection.execute(select(deployments).where(deployments.c.name == name)).mappings().one_or_none()
            return deployment_of(row) if row else None

    def list(self) -> Sequence[Deployment]:
        """Read all, by name."""
        with transaction(self._engine) as connection:
            rows = connection.execute(select(deployments).order_by(deployments.c.name))
            return [deployment_of(row) for row in rows.mappings()]

    def save(self, deployment: Deployment) -> Deployment:
        """Write one; `version` 0 adds it. Raises StaleWrite where someone else wrote or added it since."""
        saved = replace(deployment, version=deployment.version + 1)
        if deployment.version == 0:
            self._add(saved)
            return saved
        guard = and_(deployments.c.name == deployment.name, deployments.c.version == deployment.version)
        with transaction(self._engine) as connection:
            if connection.execute(update(deployments).where(guard).values(deployment_row(saved))).rowcount != 1:
                raise StaleWrite(f"deployment {deployment.name} is no longer at version {deployment.version}")
        return saved

    def delete(self, name: str) -> None:
        """Forget one that is DELETING; nothing happens when it is gone already, or was wanted again meanwhile."""
        going = and_(deployments.c.name == name, deployments.c.state == DeploymentState.DELETING)
        with transaction(self._engine) as connection:
            connection.execute(delete(deployments).where(going))

    def _add(self, deployment: Deployment) -> None:
        try:
            with transaction(self._engine) as connection:
                connection.execute(insert(deployments).values(deployment_row(deployment)))
        except IntegrityError as error:
            raise StaleWrite(f"deployment {deployment.name} was added by someone else") from error
