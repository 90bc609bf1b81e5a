"""Tables of `search.db`, and how times and numbers are written in them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    MetaData,
    UniqueConstraint,
    false,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator, TypeEngine

# Newest revision under migrations/versions; kept here so that readers need not load Alembic.
SCHEMA = "0008"
VERSION_TABLE = "noise_search_version"
FINAL_STATES = frozenset({"complete", "stopped", "infeasible", "failed"})
CHOOSE, MEASURE = "choose", "measure"  # stages of a confirmation

_NON_FINITE = "$float"


class UtcDateTime(TypeDecorator[datetime]):
    """Aware datetime, kept and returned in UTC by every database; a naive one is refused."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Value to store."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"time: expected one with a time zone, got {value!r}")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Value as stored, in UTC; SQLite gives it without a zone."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Json(TypeDecorator[Any]):
    """JSON in which NaN and the infinities survive, as `{"$float": "nan"}`: JSON has no word for them."""

    impl = JSON
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:  # noqa: ARG002
        """Value to store."""
        return encoded(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:  # noqa: ARG002
        """Value as it was given."""
        return decoded(value)


def encoded(value: Any) -> Any:
    """`value` with every non-finite float written as text; keys that JSON would change are refused.

    >>> encoded({"loss": float("inf"), "clean": 0.5})
    {'loss': {'$float': 'inf'}, 'clean': 0.5}
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else {_NON_FINITE: repr(float(value))}
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, dict | Mapping):
        return {_sound_key(key): encoded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [encoded(item) for item in value]
    return value


def decoded(value: Any) -> Any:
    """Inverse of `encoded`, up to tuples, which come back as lists.

    >>> decoded({"loss": {"$float": "-inf"}})
    {'loss': -inf}
    """
    if isinstance(value, dict):
        if value.keys() == {_NON_FINITE}:
            return float(value[_NON_FINITE])
        return {key: decoded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [decoded(item) for item in value]
    return value


def _sound_key(key: Any) -> str:
    if not isinstance(key, str) or key == _NON_FINITE:
        raise TypeError(f"stored data: expected keys that are texts other than {_NON_FINITE!r}, got {key!r}")
    return key


class Base(DeclarativeBase):
    """Every table of ours; constraints are named, so that later migrations can find them."""

    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, TypeEngine[Any]]] = {
        datetime: UtcDateTime(),
        # SQLAlchemy's own choice for floats differs between its versions.
        float: Double(),
        dict[str, object]: Json(),
        list[dict[str, object]]: Json(),
        dict[str, float]: Json(),
        dict[str, str]: Json(),
        dict[str, int]: Json(),
        dict[str, list[float]]: Json(),
        list[dict[str, float]]: Json(),
    }


class StoreRow(Base):
    """The store itself: one row."""

    __tablename__ = "stores"

    key: Mapped[str] = mapped_column(primary_key=True)


class SweepRow(Base):
    """A sweep, and who drives it."""

    __tablename__ = "sweeps"
    # A number that is given out again would let a driver that lost its sweep write into another one.
    __table_args__ = (
        CheckConstraint("state IN ('running', 'complete', 'interrupted', 'failed')", name="state"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    digest: Mapped[str]
    identity: Mapped[dict[str, object]]
    config: Mapped[dict[str, object]]
    state: Mapped[str]
    train_mode: Mapped[str | None]
    score_mode: Mapped[str | None]
    bitwise: Mapped[bool | None]
    budget_trials: Mapped[int]
    stop_requested: Mapped[bool] = mapped_column(default=False, server_default=false())
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    seconds: Mapped[float] = mapped_column(default=0.0)
    importance: Mapped[dict[str, object] | None]
    lease_owner: Mapped[str | None]
    lease_generation: Mapped[int] = mapped_column(default=0)
    lease_expires_at: Mapped[datetime | None]


class MemberRow(Base):
    """A trial or control of a sweep."""

    __tablename__ = "members"
    __table_args__ = (
        UniqueConstraint("sweep_id", "number"),
        UniqueConstraint("sweep_id", "control"),
        CheckConstraint("(number IS NULL) <> (control IS NULL)", name="number_or_control"),
        CheckConstraint("state IN ('waiting', 'running', 'complete', 'stopped', 'infeasible', 'failed')", name="state"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    sweep_id: Mapped[int] = mapped_column(ForeignKey("sweeps.id", ondelete="CASCADE"))
    number: Mapped[int | None]
    control: Mapped[str | None]
    parameters: Mapped[dict[str, object]]
    policy: Mapped[list[dict[str, object]]]
    state: Mapped[str] = mapped_column(default="waiting")
    reason: Mapped[str | None]
    told: Mapped[bool] = mapped_column(default=False)
    target_epoch: Mapped[int] = mapped_column(default=0, server_default="0")
    attempts: Mapped[dict[str, int]] = mapped_column(default=dict, server_default="{}")
    overuse: Mapped[str | None]
    constraints: Mapped[dict[str, float]] = mapped_column(default=dict, server_default="{}")
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class ResultRow(Base):
    """Scores of a member at one epoch."""

    __tablename__ = "results"
    __table_args__ = (UniqueConstraint("member_id", "epoch", "seed"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    member_id: Mapped[int] = mapped_column(ForeignKey("members.id", ondelete="CASCADE"))
    epoch: Mapped[int]
    seed: Mapped[int] = mapped_column(BigInteger)
    scores: Mapped[dict[str, float]]
    cells: Mapped[dict[str, list[float]]]
    history: Mapped[list[dict[str, float]]]
    seconds: Mapped[float]
    created_at: Mapped[datetime]
    shared: Mapped[bool] = mapped_column(default=False, server_default=false())
    checkpoint: Mapped[dict[str, str] | None]
    correct: Mapped[dict[str, str]] = mapped_column(default=dict, server_default="{}")


class JobRow(Base):
    """Members trained together from one rung to another."""

    __tablename__ = "jobs"
    __table_args__ = (CheckConstraint("state IN ('running', 'done', 'abandoned', 'failed')", name="state"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    sweep_id: Mapped[int] = mapped_column(ForeignKey("sweeps.id", ondelete="CASCADE"), index=True)
    from_epoch: Mapped[int]
    to_epoch: Mapped[int]
    state: Mapped[str] = mapped_column(default="running")
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    epochs_trained: Mapped[int] = mapped_column(default=0)
    samples_scored: Mapped[int] = mapped_column(BigInteger, default=0)
    error: Mapped[str | None]


class JobMemberRow(Base):
    """Which member sat in which slot of a job, and with which seed."""

    __tablename__ = "job_members"
    __table_args__ = (UniqueConstraint("job_id", "member_id", "seed"),)

    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    slot: Mapped[int] = mapped_column(primary_key=True)
    member_id: Mapped[int] = mapped_column(ForeignKey("members.id", ondelete="CASCADE"), index=True)
    seed: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")


class OutboxRow(Base):
    """Something the tracking mirror is to show."""

    __tablename__ = "outbox"
    # Without AUTOINCREMENT SQLite gives the number of a deleted row out again; see `Writer.enqueue`.
    __table_args__ = (UniqueConstraint("sweep_id", "key"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(primary_key=True)
    sweep_id: Mapped[int] = mapped_column(ForeignKey("sweeps.id", ondelete="CASCADE"))
    position: Mapped[int]
    key: Mapped[str]
    kind: Mapped[str]
    payload: Mapped[dict[str, object]]
    sent_at: Mapped[datetime | None]


class ConfirmationRow(Base):
    """What becomes of chosen policies of a sweep on fresh seeds."""

    __tablename__ = "confirmations"
    __table_args__ = (UniqueConstraint("sweep_id", "number"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    sweep_id: Mapped[int] = mapped_column(ForeignKey("sweeps.id", ondelete="CASCADE"))
    number: Mapped[int]
    settings: Mapped[dict[str, object]]
    choice: Mapped[dict[str, object] | None]
    finished_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    seconds: Mapped[float] = mapped_column(default=0.0)
    generation: Mapped[int | None]


class ConfirmedRow(Base):
    """One training of an arm in a confirmation."""

    __tablename__ = "confirmed"
    __table_args__ = (
        UniqueConstraint("confirmation_id", "stage", "arm", "seed"),
        CheckConstraint(f"stage IN ('{CHOOSE}', '{MEASURE}')", name="stage"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    confirmation_id: Mapped[int] = mapped_column(ForeignKey("confirmations.id", ondelete="CASCADE"))
    stage: Mapped[str]
    arm: Mapped[str]
    seed: Mapped[int] = mapped_column(BigInteger)
    policy: Mapped[list[dict[str, object]]]
    scores: Mapped[dict[str, float]]
    cells: Mapped[dict[str, list[float]]]
    correct: Mapped[str]
    hits: Mapped[dict[str, str]]
    diverged: Mapped[bool]
    created_at: Mapped[datetime]


class CardRow(Base):
    """A card that was picked from a sweep."""

    __tablename__ = "cards"
    __table_args__ = (
        UniqueConstraint("sweep_id", "version"),
        UniqueConstraint("sweep_id", "digest"),
        CheckConstraint("kind IN ('searched', 'confirmed')", name="kind"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    sweep_id: Mapped[int] = mapped_column(ForeignKey("sweeps.id", ondelete="CASCADE"))
    version: Mapped[int]
    rule: Mapped[str]
    trial: Mapped[int | None]
    kind: Mapped[str]
    confirmation: Mapped[int | None]
    digest: Mapped[str]
    content: Mapped[str]
    versions: Mapped[dict[str, str]]
    created_at: Mapped[datetime]
