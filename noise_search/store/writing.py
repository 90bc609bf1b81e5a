"""What the driver of a sweep writes, every time under its lease."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from datetime import UTC, datetime
from types import TracebackType
from typing import Self, Unpack

from sqlalchemy import ColumnElement, delete, func, insert, select, update
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.orm import Session, sessionmaker

from noise_search.store import leases
from noise_search.store.patience import (
    Patience,
    StoreLostError,
    in_one_line,
    is_lost,
    is_repeated,
    patiently,
)
from noise_search.store.records import MemberRecord, NewMember, NewResult, OutboxEntry, SweepChanges
from noise_search.store.renewing import Renewal
from noise_search.store.rows import member_record
from noise_search.store.statements import (
    SET_OUTCOME,
    key_of,
    make_wait,
    member_values,
    outcome_values,
    result_values,
    says_the_same,
    started_job,
    stored_results,
)
from noise_search.store.tables import (
    JobMemberRow,
    JobRow,
    MemberRow,
    OutboxRow,
    ResultRow,
    SweepRow,
)

_log = logging.getLogger(__name__)
REMOVED = "removed"  # key in the identity of a sweep that is being removed


class Writer:
    """Everything a driver writes about one sweep; made by `Store.take_lease`.

    Each call is one transaction, which first checks that the lease is still ours and raises `LeaseLost`,
    having changed nothing, if it is not. A daemon thread renews the lease every third of `lease_seconds`
    until `release`, or the end of a `with` block. Calls may come from several threads.
    """

    def __init__(
        self,
        sessions: sessionmaker[Session],
        sweep_id: int,
        generation: int,
        lease_seconds: float,
        patience: Patience,
    ) -> None:
        self.sweep_id = sweep_id
        self.patience = patience
        self.generation = generation
        self._sessions = sessions
        self._lease_seconds = lease_seconds
        self._released = False
        self._renewal = Renewal(self._renew, lease_seconds, f"lease of sweep {sweep_id}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    @patiently
    def add_members(self, members: Sequence[NewMember]) -> list[MemberRecord]:
        """Store trials and controls, in the order given; those already there are returned as they are."""
        with self.transaction() as session:
            known = self._known_members(session, members)
            new = {key_of(member): member for member in members if key_of(member) not in known}
            if new:
                rows = [member_values(self.sweep_id, member) for member in new.values()]
                added = session.scalars(insert(MemberRow).returning(MemberRow), rows)
                known |= {key_of(row): row for row in added}
            return [member_record(known[key_of(member)]) for member in members]

    @patiently
    def promote(self, member_ids: Sequence[int], to_epoch: int) -> None:
        """Let members train up to an epoch."""
        with self.transaction() as session:
            self._set(session, member_ids, target_epoch=to_epoch)

    def start_job(
        self, member_ids: Sequence[int], *, from_epoch: int, to_epoch: int, seeds: Sequence[int] = (0,)
    ) -> int:
        """Record a job of these members, `running` from now on; returns its id.

        Its slots are the members in the order given, each with every seed.
        """
        slots = [(member_id, seed) for member_id in member_ids for seed in seeds]
        return self._start_job(slots, from_epoch, to_epoch, datetime.now(UTC))

    @patiently
    def _start_job(self, slots: Sequence[tuple[int, int]], from_epoch: int, to_epoch: int, now: datetime) -> int:
        member_ids = [member_id for member_id, _ in slots]
        with self.transaction() as session:
            if is_repeated() and (there := started_job(session, self.sweep_id, now, member_ids)) is not None:
                return there
            self._set(session, member_ids, state="running", started_at=func.coalesce(MemberRow.started_at, now))
            job = JobRow(sweep_id=self.sweep_id, from_epoch=from_epoch, to_epoch=to_epoch, started_at=now)
            session.add(job)
            session.flush()
            rows = [
                {"job_id": job.id, "slot": slot, "member_id": member_id, "seed": seed}
                for slot, (member_id, seed) in enumerate(slots)
            ]
            session.execute(insert(JobMemberRow), rows)
            return job.id

    @patiently
    def finish_job(
        self,
        job_id: int,
        results: Sequence[NewResult],
        outbox: Sequence[OutboxEntry],
        *,
        epochs_trained: int,
        samples_scored: int,
        seconds: float,
    ) -> None:
        """Store all that came of a running job: all of it or, whatever happens, nothing.

        A result that is there already (same member, epoch and seed) keeps its scores. The last of a member's
        results sets its state; a member of the job without one waits again.

        Raises:
            ValueError: The job is not a running one of this sweep, or a result is of another sweep's member.
        """
        with self.transaction() as session:
            if self._is_written(session, job_id, "done"):
                return
            job = self._running_job(session, job_id)
            make_wait(session, [job_id])
            self._add_results(session, results)
            job.state, job.finished_at = "done", datetime.now(UTC)
            job.epochs_trained, job.samples_scored = epochs_trained, samples_scored
            spent = update(SweepRow).where(SweepRow.id == self.sweep_id)
            session.execute(spent.values(seconds=SweepRow.seconds + seconds))
            self.enqueue_within(session, outbox)

    @patiently
    def add_results(self, results: Sequence[NewResult], outbox: Sequence[OutboxEntry]) -> None:
        """Store results that no job has trained, with what the mirror shall show: all of it or nothing."""
        with self.transaction() as session:
            self._add_results(session, results)
            self.enqueue_within(session, outbox)

    @patiently
    def fail_job(
        self,
        job_id: int,
        error: str,
        *,
        kind: str,
        blamed: int | None = None,
        epochs_trained: int = 0,
        seconds: float = 0.0,
    ) -> None:
        """Record that a running job has failed, and what it cost; its members wait again.

        Args:
            job_id: Of the job.
            error: What it said.
            kind: What went wrong, in a word.
            blamed: Member that failed alone, of which a failure of this kind is counted.
            epochs_trained: Member-epochs before it failed, as far as they are known.
            seconds: Until it failed.
        """
        with self.transaction() as session:
            if self._is_written(session, job_id, "failed"):
                return
            job = self._running_job(session, job_id)
            job.state, job.finished_at, job.error = "failed", datetime.now(UTC), error
            job.epochs_trained = epochs_trained
            session.get_one(SweepRow, self.sweep_id).seconds += seconds
            make_wait(session, [job_id])
            if blamed is not None:
                row = self._members(session, [blamed])[blamed]
                row.attempts = {**row.attempts, kind: row.attempts.get(kind, 0) + 1}

    @patiently
    def end_members(self, reasons: Mapping[int, str], state: str, outbox: Sequence[OutboxEntry]) -> None:
        """Set members to `stopped` or `failed`, each with its reason, with what the mirror shall show."""
        now = datetime.now(UTC)
        with self.transaction() as session:
            for member_id, row in self._members(session, reasons).items():
                row.state, row.reason, row.finished_at = state, reasons[member_id], now
            self.enqueue_within(session, outbox)

    @patiently
    def abandon_running_jobs(self) -> None:
        """Give up the jobs a dead driver left; their members wait again."""
        running = select(JobRow.id).where(JobRow.sweep_id == self.sweep_id, JobRow.state == "running")
        with self.transaction() as session:
            job_ids = list(session.scalars(running))
            make_wait(session, job_ids)
            given_up = update(JobRow).where(JobRow.id.in_(job_ids))
            session.execute(given_up.values(state="abandoned", finished_at=datetime.now(UTC)))

    @patiently
    def mark_told(self, member_ids: Collection[int]) -> None:
        """Record that Optuna knows the outcome of these members."""
        with self.transaction() as session:
            self._set(session, member_ids, told=True)

    @patiently
    def enqueue(self, entries: Sequence[OutboxEntry]) -> None:
        """Leave entries for the tracking mirror.

        One whose key is there already is left alone if it says the same, else replaced, to be sent (again).
        It then has a new id, so that `Store.mark_sent` for the old one, still under way, does not touch it;
        it keeps its place in the queue.
        """
        with self.transaction() as session:
            self.enqueue_within(session, entries)

    @patiently
    def send_again(self) -> None:
        """Let everything that was ever left for the tracking mirror be sent once more, as to another place."""
        with self.transaction() as session:
            session.execute(update(OutboxRow).where(OutboxRow.sweep_id == self.sweep_id).values(sent_at=None))

    @patiently
    def update_sweep(self, **changes: Unpack[SweepChanges]) -> None:
        """Set columns of the sweep."""
        if unknown := changes.keys() - SweepChanges.__annotations__.keys():
            raise TypeError(f"update_sweep: expected some of {sorted(SweepChanges.__annotations__)}, got {unknown}")
        with self.transaction() as session:
            row = session.get_one(SweepRow, self.sweep_id)
            for name, value in changes.items():
                setattr(row, name, value)

    @patiently
    def finish_sweep(
        self, state: str, outbox: Sequence[OutboxEntry], *, importance: dict[str, object] | None = None
    ) -> None:
        """Set the state that a run leaves the sweep in, with what the mirror shall show: both or neither.

        Importance of knobs is stored where there is one; else that of an earlier run stays.
        """
        with self.transaction() as session:
            row = session.get_one(SweepRow, self.sweep_id)
            row.state, row.finished_at = state, datetime.now(UTC)
            row.importance = importance or row.importance
            self.enqueue_within(session, outbox)

    @patiently
    def mark_removed(self) -> None:
        """Let nobody continue the sweep from now on: it is being removed."""
        with self.transaction() as session:
            row = session.get_one(SweepRow, self.sweep_id)
            row.identity = {**row.identity, REMOVED: True}

    def remove_sweep(self) -> None:
        """Remove the sweep with everything of it that is in our store, and the lease with it."""
        self._remove_sweep()
        self.release()

    @patiently
    def _remove_sweep(self) -> None:
        with self._sessions.begin() as session:
            if is_repeated() and session.get(SweepRow, self.sweep_id) is None:
                return
            leases.hold(session, self.sweep_id, self.generation)
            session.execute(delete(SweepRow).where(SweepRow.id == self.sweep_id))

    @patiently
    def renew(self) -> None:
        """Let the lease last for its full time from now."""
        self._renew()

    def _renew(self) -> None:
        with self._sessions.begin() as session:
            leases.extend(session, self.sweep_id, self.generation, self._lease_seconds)

    def release(self) -> None:
        """Stop renewing and let others drive; does nothing to a lease that is lost or released already."""
        if self._released:
            return
        self._released = True
        self._renewal.end()
        try:
            self._give_back()
        except (OperationalError, InterfaceError, StoreLostError) as error:
            if not is_lost(error):
                raise
            _log.warning("the lease could not be given back, and runs out in a while: %s", in_one_line(error))

    @patiently
    def _give_back(self) -> None:
        with self._sessions.begin() as session:
            leases.give_back(session, self.sweep_id, self.generation)

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """One transaction under our lease, for what is written in other modules of the store."""
        with self._sessions.begin() as session:
            leases.hold(session, self.sweep_id, self.generation)
            yield session

    def _known_members(self, session: Session, members: Sequence[NewMember]) -> dict[int | str | None, MemberRow]:
        """Those of these members that are stored."""
        known: dict[int | str | None, MemberRow] = {}
        # Apart, because with either of two columns databases look at every member of the sweep.
        for column in (MemberRow.number, MemberRow.control):
            if keys := [key for member in members if (key := getattr(member, column.key)) is not None]:
                query = select(MemberRow).where(MemberRow.sweep_id == self.sweep_id, column.in_(keys))
                known |= {key_of(row): row for row in session.scalars(query)}
        return known

    def _set(self, session: Session, member_ids: Iterable[int], **values: object) -> None:
        """Set columns of members, all to the same."""
        wanted = set(member_ids)
        done = session.connection().execute(update(MemberRow).where(self._these(wanted)).values(**values))
        if done.rowcount != len(wanted):
            self._members(session, wanted)

    def _members(self, session: Session, member_ids: Iterable[int]) -> Mapping[int, MemberRow]:
        """Rows of members by key, each of which must be one of this sweep."""
        wanted = set(member_ids)
        found = {row.id: row for row in session.scalars(select(MemberRow).where(self._these(wanted)))}
        self._refuse_others(wanted - found.keys())
        return found

    def _these(self, member_ids: Set[int]) -> ColumnElement[bool]:
        return (MemberRow.sweep_id == self.sweep_id) & MemberRow.id.in_(member_ids)

    def _refuse_others(self, member_ids: Set[int]) -> None:
        if member_ids:
            raise ValueError(f"member_ids: expected members of sweep {self.sweep_id}, got {sorted(member_ids)}")

    def _is_written(self, session: Session, job_id: int, state: str) -> bool:
        """Whether this transaction was made before: nobody else ends a job while the lease is ours."""
        job = session.get(JobRow, job_id) if is_repeated() else None
        return job is not None and job.sweep_id == self.sweep_id and job.state == state

    def _running_job(self, session: Session, job_id: int) -> JobRow:
        job = session.get(JobRow, job_id)
        if job is None or job.sweep_id != self.sweep_id or job.state != "running":
            state = "none" if job is None else f"one of sweep {job.sweep_id} that is {job.state}"
            raise ValueError(f"job {job_id}: expected a running job of sweep {self.sweep_id}, got {state}")
        return job

    def _add_results(self, session: Session, results: Sequence[NewResult]) -> None:
        if not results:
            return
        last = {result.member_id: result for result in results}
        stored = stored_results(session, self.sweep_id, last)
        self._refuse_others(last.keys() - stored.keys())
        new: dict[tuple[int, int, int], NewResult] = {}
        for result in results:
            new.setdefault((result.member_id, result.epoch, result.seed), result)
        if rows := [result_values(result) for key, result in new.items() if key[1:] not in stored[key[0]]]:
            session.connection().execute(insert(ResultRow), rows)
        session.connection().execute(SET_OUTCOME, [outcome_values(result) for result in last.values()])

    def enqueue_within(self, session: Session, entries: Sequence[OutboxEntry]) -> None:
        """`enqueue`, within a transaction."""
        if not entries:
            return
        of_sweep = OutboxRow.sweep_id == self.sweep_id
        end = (session.scalar(select(func.max(OutboxRow.position)).where(of_sweep)) or 0) + 1
        latest = {entry.key: entry for entry in entries}
        there = {row.key: row for row in session.scalars(select(OutboxRow).where(of_sweep, OutboxRow.key.in_(latest)))}
        rows = [
            {"sweep_id": self.sweep_id, "position": position, "key": key, "kind": entry.kind, "payload": entry.payload}
            for position, (key, entry) in enumerate(latest.items(), start=end)
            if key not in there or not says_the_same(there[key], entry)
        ]
        replaced = [there[key] for key in (str(row["key"]) for row in rows) if key in there]
        if replaced:
            places = {row.key: row.position for row in replaced}
            rows = [{**row, "position": places.get(str(row["key"]), row["position"])} for row in rows]
            session.execute(delete(OutboxRow).where(OutboxRow.id.in_([row.id for row in replaced])))
        if rows:
            session.execute(insert(OutboxRow), rows)
