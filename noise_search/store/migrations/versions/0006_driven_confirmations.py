"""Under which lease a confirmation was last begun: whoever holds that one runs it.

Revision ID: 0006
Revises: 0005
"""

from __future__ import annotations

from typing import Literal

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; nobody runs a confirmation of before."""
    # SQLite cannot add such columns in place; a server can, and would not let a table go that others refer to.
    recreate: Literal["always", "never"] = "always" if op.get_context().dialect.name == "sqlite" else "never"
    with op.batch_alter_table("confirmations", recreate=recreate) as table:
        table.add_column(sa.Column("generation", sa.Integer(), nullable=True))
