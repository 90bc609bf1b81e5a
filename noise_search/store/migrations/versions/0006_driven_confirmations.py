"""Under which lease a confirmation was last begun: whoever holds that one runs it.

Revision ID: 0006
Revises: 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; nobody runs a confirmation of before."""
    with op.batch_alter_table("confirmations", recreate="always") as table:
        table.add_column(sa.Column("generation", sa.Integer(), nullable=True))
