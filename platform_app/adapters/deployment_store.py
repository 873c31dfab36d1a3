"""Desired deployments, in SQL."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from sqlalchemy import ColumnElement, Connection, Engine, and_, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from platform_app.adapters.tables import (
    deployment_events,
    deployment_of,
    deployment_row,
    deployments,
    event_of,
    revision_of,
    revision_row,
    revisions,
)
from platform_app.adapters.transactions import transaction
from platform_app.domain.deployment import Deployment, DeploymentState, Revision
from platform_app.domain.job import Event
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

    def save(
        self, deployment: Deployment, events: Iterable[Event] = (), revision: Revision | None = None
    ) -> Deployment:
        """Write one, with what happened to it and a revision; `version` 0 adds it.

        Raises:
            StaleWrite: someone else wrote or added it since, or made a revision of the same number.
        """
        saved = replace(deployment, version=deployment.version + 1)
        happened = [{"deployment": deployment.name, **vars(event)} for event in events]
        try:
            with transaction(self._engine) as connection:
                _write(connection, saved, is_new=deployment.version == 0)
                if revision:
                    _write_revision(connection, revision)
                if happened:
                    connection.execute(insert(deployment_events), happened)
        except IntegrityError as error:
            raise StaleWrite(f"deployment {deployment.name} was added or revised by someone else") from error
        return saved

    def events(self, name: str) -> Sequence[Event]:
        """Read what happened under a name, oldest first."""
        wanted = select(deployment_events).where(deployment_events.c.deployment == name)
        with transaction(self._engine) as connection:
            rows = connection.execute(wanted.order_by(deployment_events.c.id))
            return [event_of(row) for row in rows.mappings()]

    def revisions(self, name: str) -> Sequence[Revision]:
        """Read all revisions under a name, newest first."""
        return self._revisions(revisions.c.deployment == name)

    def revisions_of(self, model: str, versions: Collection[int]) -> Sequence[Revision]:
        """Read the revisions that served, or tried to serve, versions of a model, newest first."""
        return self._revisions(and_(revisions.c.model == model, revisions.c.model_version.in_(versions)))

    def _revisions(self, condition: ColumnElement[bool]) -> Sequence[Revision]:
        wanted = select(revisions).where(condition).order_by(revisions.c.created_at.desc(), revisions.c.number.desc())
        with transaction(self._engine) as connection:
            return [revision_of(row) for row in connection.execute(wanted).mappings()]

    def delete(self, name: str) -> None:
        """Forget one that is DELETING; nothing happens when it is gone already, or was wanted again meanwhile."""
        going = and_(deployments.c.name == name, deployments.c.state == DeploymentState.DELETING)
        with transaction(self._engine) as connection:
            connection.execute(delete(deployments).where(going))


def _write(connection: Connection, deployment: Deployment, is_new: bool) -> None:
    if is_new:
        connection.execute(insert(deployments).values(deployment_row(deployment)))
        return
    read = deployment.version - 1
    guard = and_(deployments.c.name == deployment.name, deployments.c.version == read)
    if connection.execute(update(deployments).where(guard).values(deployment_row(deployment))).rowcount != 1:
        raise StaleWrite(f"deployment {deployment.name} is no longer at version {read}")


def _write_revision(connection: Connection, revision: Revision) -> None:
    one = and_(revisions.c.deployment == revision.deployment, revisions.c.number == revision.number)
    if connection.execute(update(revisions).where(one).values(state=revision.state)).rowcount == 0:
        connection.execute(insert(revisions).values(revision_row(revision)))
