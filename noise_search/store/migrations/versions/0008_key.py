"""A store has a key of its own, which tells the folder that holds the files of a database whose they are.

Revision ID: 0008
Revises: 0007
"""

from __future__ import annotations

import uuid

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table and its only row."""
    stores = op.create_table(
        "stores",
        sa.Column("key", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_stores")),
    )
    op.bulk_insert(stores, [{"key": uuid.uuid4().hex}])
