"""Rungs, seeds, checkpoints, failed jobs, requests to stop, and numbers of sweeps that are never given out again.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

from typing import Literal

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_JOB_STATES = "state IN ('running', 'done', 'abandoned', 'failed')"


def upgrade() -> None:
    """Add the columns; what a member of an older sweep has trained is read from its results."""
    # SQLite cannot add such columns in place; a server can, and would not let a table go that others refer to.
    recreate: Literal["always", "never"] = "always" if op.get_context().dialect.name == "sqlite" else "never"
    with op.batch_alter_table("sweeps", recreate=recreate, table_kwargs={"sqlite_autoincrement": True}) as table:
        table.add_column(sa.Column("stop_requested", sa.Boolean(), nullable=False, server_default=sa.false()))
    with op.batch_alter_table("members", recreate=recreate) as table:
        table.add_column(sa.Column("target_epoch", sa.Integer(), nullable=False, server_default="0"))
        table.add_column(sa.Column("attempts", sa.JSON(), nullable=False, server_default="{}"))
        table.add_column(sa.Column("overuse", sa.String(), nullable=True))
        table.add_column(sa.Column("constraints", sa.JSON(), nullable=False, server_default="{}"))
    with op.batch_alter_table("results", recreate=recreate) as table:
        table.add_column(sa.Column("shared", sa.Boolean(), nullable=False, server_default=sa.false()))
        table.add_column(sa.Column("checkpoint", sa.JSON(), nullable=True))
        table.add_column(sa.Column("correct", sa.JSON(), nullable=False, server_default="{}"))
    with op.batch_alter_table("jobs") as table:
        table.add_column(sa.Column("error", sa.String(), nullable=True))
        table.drop_constraint(op.f("ck_jobs_state"), type_="check")
        table.create_check_constraint(op.f("ck_jobs_state"), _JOB_STATES)
    with op.batch_alter_table("job_members") as table:
        table.add_column(sa.Column("seed", sa.BigInteger(), nullable=False, server_default="0"))
        table.drop_constraint(op.f("uq_job_members_job_id_member_id"), type_="unique")
        table.create_unique_constraint(op.f("uq_job_members_job_id_member_id_seed"), ["job_id", "member_id", "seed"])
