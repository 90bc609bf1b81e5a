"""What mattered in a sweep, found when it reached its total.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

from typing import Literal

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; older sweeps have none until they reach a total again."""
    # SQLite cannot add such columns in place; a server can, and would not let a table go that others refer to.
    recreate: Literal["always", "never"] = "always" if op.get_context().dialect.name == "sqlite" else "never"
    with op.batch_alter_table("sweeps", recreate=recreate, table_kwargs={"sqlite_autoincrement": True}) as table:
        table.add_column(sa.Column("importance", sa.JSON(), nullable=True))
