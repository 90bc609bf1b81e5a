"""From rows of the tables to plain records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from noise_search.store.records import (
    CardRecord,
    ConfirmationRecord,
    Confirmed,
    JobRecord,
    MemberRecord,
    OutboxRecord,
    ResultRecord,
    SweepRecord,
)
from noise_search.store.tables import (
    CardRow,
    ConfirmationRow,
    ConfirmedRow,
    JobRow,
    MemberRow,
    OutboxRow,
    ResultRow,
    SweepRow,
)


def sweep_record(row: SweepRow) -> SweepRecord:
    """Record of a sweep, without its lease."""
    return SweepRecord(**_shared(SweepRecord, row))


def member_record(row: MemberRow) -> MemberRecord:
    """Record of a member."""
    return MemberRecord(**_shared(MemberRecord, row))


def result_record(row: ResultRow) -> ResultRecord:
    """Record of a result."""
    return ResultRecord(**_shared(ResultRecord, row))


def job_record(row: JobRow, slots: Sequence[tuple[int, int]]) -> JobRecord:
    """Record of a job with these members and seeds."""
    members, seeds = tuple(member for member, _ in slots), tuple(seed for _, seed in slots)
    return JobRecord(**_shared(JobRecord, row, without=("members", "seeds")), members=members, seeds=seeds)


def outbox_record(row: OutboxRow) -> OutboxRecord:
    """Record of something to be sent."""
    return OutboxRecord(**_shared(OutboxRecord, row))


def confirmation_record(row: ConfirmationRow) -> ConfirmationRecord:
    """Record of a confirmation."""
    return ConfirmationRecord(**_shared(ConfirmationRecord, row))


def confirmed(row: ConfirmedRow) -> Confirmed:
    """One training of an arm."""
    return Confirmed(**_shared(Confirmed, row))


def card_record(row: CardRow) -> CardRecord:
    """Record of a registered card."""
    return CardRecord(**_shared(CardRecord, row))


def _shared(kind: type[Any], row: object, without: Sequence[str] = ()) -> dict[str, Any]:
    return {field.name: getattr(row, field.name) for field in fields(kind) if field.name not in without}
