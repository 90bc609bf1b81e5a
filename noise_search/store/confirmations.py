"""Confirmations in the store: begun once, filled training by training, under the lease of their sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TypeVar

from sqlalchemy import Select, insert, select, update
from sqlalchemy.orm import Session

from noise_search.store.patience import is_repeated, patiently
from noise_search.store.records import ConfirmationRecord, Confirmed, OutboxEntry
from noise_search.store.rows import confirmation_record
from noise_search.store.tables import ConfirmationRow, ConfirmedRow
from noise_search.store.writing import Writer

WithSettings = TypeVar("WithSettings", ConfirmationRow, ConfirmationRecord)


@patiently
def begin_confirmation(writer: Writer, settings: dict[str, object]) -> ConfirmationRecord:
    """The latest confirmation with these settings, else a new one; it runs while the writer has its lease."""
    with writer.transaction() as session:
        found = list(session.scalars(_of_sweep(writer.sweep_id)))
        row = latest_with(found, settings) or _new(session, writer.sweep_id, len(found) + 1, settings)
        row.generation = writer.generation
        return confirmation_record(row)


def latest_with(found: Sequence[WithSettings], settings: Mapping[str, object]) -> WithSettings | None:
    """The confirmation, of all of a sweep by number, that these settings go on with; None where they begin one."""
    return next((one for one in reversed(found) if one.settings == settings), None)


@patiently
def add_confirmed(
    writer: Writer,
    confirmation_id: int,
    trainings: Sequence[Confirmed],
    outbox: Sequence[OutboxEntry],
    *,
    seconds: float,
) -> None:
    """Store trainings of a confirmation and what the mirror shall show, all of it or nothing; those there are kept."""
    with writer.transaction() as session:
        _check_own(session, writer.sweep_id, confirmation_id)
        there = {(row.stage, row.arm, row.seed) for row in session.execute(_keys(confirmation_id))}
        now = datetime.now(UTC)
        rows = [
            asdict(one) | {"confirmation_id": confirmation_id, "created_at": now}
            for one in trainings
            if (one.stage, one.arm, one.seed) not in there
        ]
        if rows:
            session.execute(insert(ConfirmedRow), rows)
        elif is_repeated() and trainings:  # all of this was stored before
            return
        own = update(ConfirmationRow).where(ConfirmationRow.id == confirmation_id)
        session.execute(own.values(seconds=ConfirmationRow.seconds + seconds))
        writer.enqueue_within(session, outbox)


@patiently
def store_choice(writer: Writer, confirmation_id: int, choice: dict[str, object]) -> ConfirmationRecord:
    """Record what the first stage has chosen; it is chosen once: what is there stays, what is missing is added."""
    with writer.transaction() as session:
        row = _check_own(session, writer.sweep_id, confirmation_id)
        row.choice = {**choice, **(row.choice or {})}
        return confirmation_record(row)


@patiently
def finish_confirmation(writer: Writer, confirmation_id: int, outbox: Sequence[OutboxEntry]) -> ConfirmationRecord:
    """Record that everything of a confirmation is measured, with what the mirror shall show: both or neither."""
    with writer.transaction() as session:
        row = _check_own(session, writer.sweep_id, confirmation_id)
        row.finished_at = row.finished_at or datetime.now(UTC)
        writer.enqueue_within(session, outbox)
        return confirmation_record(row)


def _new(session: Session, sweep_id: int, number: int, settings: dict[str, object]) -> ConfirmationRow:
    row = ConfirmationRow(sweep_id=sweep_id, number=number, settings=settings, created_at=datetime.now(UTC))
    session.add(row)
    session.flush()
    return row


def _check_own(session: Session, sweep_id: int, confirmation_id: int) -> ConfirmationRow:
    row = session.get(ConfirmationRow, confirmation_id)
    if row is None or row.sweep_id != sweep_id:
        raise ValueError(f"confirmation {confirmation_id}: expected one of sweep {sweep_id}")
    return row


def _of_sweep(sweep_id: int) -> Select[ConfirmationRow]:
    return select(ConfirmationRow).where(ConfirmationRow.sweep_id == sweep_id).order_by(ConfirmationRow.number)


def _keys(confirmation_id: int) -> Select[str, str, int]:
    columns = select(ConfirmedRow.stage, ConfirmedRow.arm, ConfirmedRow.seed)
    return columns.where(ConfirmedRow.confirmation_id == confirmation_id)
