"""Run by Alembic: applies the revisions to the connection it is given, inside the caller's transaction."""

from __future__ import annotations

from alembic import context

from noise_search.store.tables import VERSION_TABLE, Base


def migrate() -> None:
    """Apply what is to be applied; batch mode because SQLite cannot alter most of a table in place."""
    context.configure(
        connection=context.config.attributes["connection"],
        target_metadata=Base.metadata,
        version_table=VERSION_TABLE,
        render_as_batch=True,
        transactional_ddl=True,
    )
    with context.begin_transaction():
        context.run_migrations()


# Alembic executes this file. Who merely imports it, as documentation tests do, has no migration under way.
if hasattr(context, "config"):
    migrate()
