"""Alembic's entry: runs the steps on the connection that `adapters.database.migrate` holds open."""

from alembic import context

from platform_app.adapters.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite alters a table by copying it.
    render_as_batch=True,
)
context.run_migrations()
