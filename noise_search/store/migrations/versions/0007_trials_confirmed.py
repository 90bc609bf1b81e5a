"""Confirmations say how many trials were complete when they began; those of before kept the sweep's total.

And a card may be a control's, which has no number.

A revision of its own, though 0006 is as young: stores that were brought to 0006 have such confirmations too. Counted
again, the number of a later confirmation is the one it has.

Revision ID: 0007
Revises: 0006
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_confirmations = sa.table(
    "confirmations",
    sa.column("id", sa.Integer()),
    sa.column("sweep_id", sa.Integer()),
    sa.column("settings", sa.JSON()),
    sa.column("created_at", sa.DateTime()),
)
_members = sa.table(
    "members",
    sa.column("sweep_id", sa.Integer()),
    sa.column("number", sa.Integer()),
    sa.column("state", sa.String()),
    sa.column("finished_at", sa.DateTime()),
)


def upgrade() -> None:
    """Bring both tables up to date."""
    with op.batch_alter_table("cards") as cards:
        cards.alter_column("trial", existing_type=sa.Integer(), nullable=True)
    _count_trials()


def _count_trials() -> None:
    """Count them by when they ended: a complete trial is never trained again."""
    complete = sa.and_(
        _members.c.sweep_id == _confirmations.c.sweep_id,
        _members.c.number.is_not(None),
        _members.c.state == "complete",
        _members.c.finished_at <= _confirmations.c.created_at,
    )
    trials = sa.select(sa.func.count()).select_from(_members).where(complete).scalar_subquery()
    connection = op.get_bind()
    for number, settings, count in connection.execute(
        sa.select(_confirmations.c.id, _confirmations.c.settings, trials)
    ).all():
        own = sa.update(_confirmations).where(_confirmations.c.id == number)
        connection.execute(own.values(settings=settings | {"trials": count}))
