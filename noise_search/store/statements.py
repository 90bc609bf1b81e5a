"""Statements and rows that the driver's transactions are made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from sqlalchemy import bindparam, func, select, update
from sqlalchemy.orm import Session

from noise_search.store.records import NewMember, NewResult, OutboxEntry
from noise_search.store.tables import (
    FINAL_STATES,
    JobMemberRow,
    JobRow,
    MemberRow,
    OutboxRow,
    ResultRow,
    encoded,
)


def says_the_same(row: OutboxRow, entry: OutboxEntry) -> bool:
    """Whether a stored entry is the one that is to be sent."""
    # As they are written: NaN differs from itself, a list from a tuple.
    return row.kind == entry.kind and encoded(row.payload) == encoded(entry.payload)


def members_of(session: Session, job_ids: Sequence[int]) -> list[int]:
    """Members of jobs, slot by slot."""
    query = select(JobMemberRow.member_id).where(JobMemberRow.job_id.in_(job_ids))
    return list(session.scalars(query.order_by(JobMemberRow.job_id, JobMemberRow.slot)))


def started_job(session: Session, sweep_id: int, moment: datetime, member_ids: Sequence[int]) -> int | None:
    """Running job that was started at a moment, to the microsecond, with these members; None where there is none."""
    running = JobRow.state == "running"
    found = session.scalars(select(JobRow.id).where(JobRow.sweep_id == sweep_id, JobRow.started_at == moment, running))
    return next((job_id for job_id in found if members_of(session, [job_id]) == list(member_ids)), None)


def make_wait(session: Session, job_ids: Sequence[int]) -> None:
    """Let members of jobs wait again that run."""
    of_jobs = select(JobMemberRow.member_id).where(JobMemberRow.job_id.in_(job_ids))
    running = MemberRow.id.in_(of_jobs) & (MemberRow.state == "running")
    session.connection().execute(update(MemberRow).where(running).values(state="waiting"))


def key_of(member: NewMember | MemberRow) -> int | str | None:
    """What tells members of a sweep apart: the number of a trial, the name of a control."""
    return member.number if member.control is None else member.control


def member_values(sweep_id: int, member: NewMember) -> dict[str, object]:
    """Row of a member."""
    return {
        "sweep_id": sweep_id,
        "number": member.number,
        "control": member.control,
        "parameters": member.parameters,
        "policy": member.policy,
    }


def stored_results(
    session: Session, sweep_id: int, member_ids: Iterable[int]
) -> dict[int, set[tuple[int | None, int | None]]]:
    """Epoch and seed of every result that is stored already, of those of these members that are of a sweep."""
    columns = select(MemberRow.id, ResultRow.epoch, ResultRow.seed).outerjoin(ResultRow)
    these = MemberRow.id.in_(list(member_ids))
    found: dict[int, set[tuple[int | None, int | None]]] = {}
    for row in session.connection().execute(columns.where(MemberRow.sweep_id == sweep_id, these)):
        found.setdefault(row.id, set()).add((row.epoch, row.seed))
    return found


def result_values(result: NewResult) -> dict[str, object]:
    """Row of a result."""
    return {
        "member_id": result.member_id,
        "epoch": result.epoch,
        "seed": result.seed,
        "scores": result.scores,
        "cells": result.cells,
        "history": result.history,
        "seconds": result.seconds,
        "created_at": datetime.now(UTC),
        "shared": result.shared,
        "checkpoint": result.checkpoint,
        "correct": result.correct,
    }


def outcome_values(result: NewResult) -> dict[str, object]:
    """What `SET_OUTCOME` is given: state and end of a member as a result leaves it."""
    now = datetime.now(UTC)
    return {
        "member": result.member_id,
        "new_state": result.state,
        "new_reason": result.reason,
        "flag": result.overuse,
        "limits": result.constraints,
        "now": now,
        "end": now if result.state in FINAL_STATES else None,
    }


SET_OUTCOME = (
    update(MemberRow)
    .where(MemberRow.id == bindparam("member"))
    .values(
        state=bindparam("new_state"),
        reason=bindparam("new_reason"),
        overuse=func.coalesce(bindparam("flag"), MemberRow.overuse),
        constraints=bindparam("limits"),
        started_at=func.coalesce(MemberRow.started_at, bindparam("now")),
        finished_at=bindparam("end"),
    )
)
