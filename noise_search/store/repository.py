"""Reading a store, starting sweeps in it and taking the lease to drive one."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from noise_search.errors import CallerError, expected_one_of
from noise_search.store import leases
from noise_search.store.engines import connect_engine, readers, writers
from noise_search.store.locations import Location
from noise_search.store.patience import Patience, StoreLostError, is_repeated, patiently
from noise_search.store.records import (
    CardRecord,
    ConfirmationRecord,
    Confirmed,
    JobRecord,
    MemberRecord,
    NewCard,
    OutboxRecord,
    ResultRecord,
    RungScores,
    SweepRecord,
)
from noise_search.store.rows import (
    card_record,
    confirmation_record,
    confirmed,
    job_record,
    member_record,
    outbox_record,
    result_record,
    sweep_record,
)
from noise_search.store.schema import check_schema, create_schema, is_current, optuna_storage
from noise_search.store.tables import (
    MEASURE,
    CardRow,
    ConfirmationRow,
    ConfirmedRow,
    JobMemberRow,
    JobRow,
    MemberRow,
    OutboxRow,
    ResultRow,
    SweepRow,
)
from noise_search.store.writing import Writer

if TYPE_CHECKING:
    from noise_search.store.studies import StudyStorage

__all__ = ["Store", "Writer", "create_schema", "is_current", "open_store"]


def open_store(location: Location, *, create: bool, patient: bool = False) -> Store:
    """Store at `location`; with `create` one in a folder is made first, or brought up to date, and a folder taken.

    Args:
        location: Of the store.
        create: Whether it may be made; one in PostgreSQL is made by `noise-search migrate` alone.
        patient: Whether a server that is lost is waited for, as in the middle of work.

    Raises:
        CallerError: The store is missing, of another version, or cannot be used (see `create_schema`).
        StoreLostError: Its server was waited for in vain.
    """
    if create and not location.is_shared:
        create_schema(location)
    store = Store(location)
    try:
        (store.patience if patient else Patience(0)).call(lambda: store.check(create=create))
    except (CallerError, StoreLostError):
        store.close()
        raise
    return store


class Store:
    """Sweeps and what came of them, for anybody to read; `take_lease` for writing.

    May be used by several threads. Close it, or use it as a context manager.

    Args:
        location: Where it lies. The databases must exist: see `open_store`.
    """

    def __init__(self, location: Location) -> None:
        self.location = location
        self.patience = Patience(location.retry_seconds if location.is_shared else 0)
        self._engine = connect_engine(location.search_url)
        self._reading = readers(self._engine)
        self._writing = writers(self._engine)
        self._optuna: StudyStorage | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection, Optuna's too; release leases before."""
        if self._optuna is not None:
            self._optuna.remove_session()
            self._optuna.engine.dispose()
        self._engine.dispose()

    def check(self, *, create: bool = False) -> None:
        """Refuse a store that is missing or of another version by a `CallerError`; see `open_store`."""
        check_schema(self.location, self._engine, claim=create)

    @patiently
    def find_sweep(self, name: str) -> SweepRecord | None:
        """Sweep of that name, or None."""
        with self._reading() as session:
            row = session.scalar(select(SweepRow).where(SweepRow.name == name))
            return None if row is None else sweep_record(row)

    def sweep(self, name: str) -> SweepRecord:
        """Sweep of that name.

        Raises:
            CallerError: There is none; says which there are.
        """
        if found := self.find_sweep(name):
            return found
        names = [sweep.name for sweep in self.sweeps()]
        if not names:
            raise CallerError(f"sweep: expected the name of a sweep, got {name!r}; {self.location} has none yet")
        raise CallerError(expected_one_of("sweep", names, name))

    @patiently
    def sweeps(self) -> list[SweepRecord]:
        """Every sweep, oldest first."""
        with self._reading() as session:
            return [sweep_record(row) for row in session.scalars(select(SweepRow).order_by(SweepRow.id))]

    @patiently
    def members(
        self,
        sweep_id: int,
        *,
        states: Collection[str] | None = None,
        told: bool | None = None,
        member_ids: Collection[int] | None = None,
    ) -> list[MemberRecord]:
        """Members of a sweep: controls as they were added, then trials by number.

        Args:
            sweep_id: Key of the sweep.
            states: Only those in one of these states; None for all.
            told: Only those whose outcome Optuna knows, or does not know; None for all.
            member_ids: Only these; None for all.
        """
        query = select(MemberRow).where(MemberRow.sweep_id == sweep_id)
        if states is not None:
            query = query.where(MemberRow.state.in_(states))
        if told is not None:
            query = query.where(MemberRow.told == told)
        if member_ids is not None:
            query = query.where(MemberRow.id.in_(member_ids))
        order = (MemberRow.number.is_not(None), MemberRow.number, MemberRow.id)
        with self._reading() as session:
            return [member_record(row) for row in session.scalars(query.order_by(*order))]

    @patiently
    def results(self, sweep_id: int, *, member_ids: Collection[int] | None = None) -> list[ResultRecord]:
        """Results of a sweep, or of some of its members, in the order they came.

        Histories are long: a caller that needs some members only names them.
        """
        query = select(ResultRow).join(MemberRow).where(MemberRow.sweep_id == sweep_id)
        if member_ids is not None:
            query = query.where(MemberRow.id.in_(member_ids))
        with self._reading() as session:
            return [result_record(row) for row in session.scalars(query.order_by(ResultRow.id))]

    @patiently
    def rung_scores(self, sweep_id: int, *, member_ids: Collection[int] | None = None) -> list[RungScores]:
        """Scores of a sweep's members at every rung, without histories and cells, in the order they came."""
        columns = (
            ResultRow.member_id,
            ResultRow.epoch,
            ResultRow.seed,
            ResultRow.scores,
            ResultRow.checkpoint,
        )
        query = select(*columns).join(MemberRow).where(MemberRow.sweep_id == sweep_id)
        if member_ids is not None:
            query = query.where(MemberRow.id.in_(member_ids))
        with self._reading() as session:
            return [RungScores(*row) for row in session.execute(query.order_by(ResultRow.id))]

    @patiently
    def jobs(self, sweep_id: int) -> list[JobRecord]:
        """Jobs of a sweep, oldest first."""
        of_sweep = JobRow.sweep_id == sweep_id
        slots = select(JobMemberRow).join(JobRow).where(of_sweep).order_by(JobMemberRow.slot)
        members: dict[int, list[tuple[int, int]]] = {}
        with self._reading() as session:
            for slot in session.scalars(slots):
                members.setdefault(slot.job_id, []).append((slot.member_id, slot.seed))
            rows = session.scalars(select(JobRow).where(of_sweep).order_by(JobRow.id))
            return [job_record(row, members.get(row.id, [])) for row in rows]

    def create_sweep(
        self,
        *,
        name: str,
        digest: str,
        identity: dict[str, object],
        config: dict[str, object],
        budget_trials: int,
    ) -> SweepRecord:
        """Store a new sweep, `running` and driven by nobody yet.

        Raises:
            CallerError: The name is taken.
        """
        values = {"name": name, "digest": digest, "identity": identity, "config": config}
        return self._add(values | {"budget_trials": budget_trials, "created_at": datetime.now(UTC)})

    @patiently
    def _add(self, values: dict[str, Any]) -> SweepRecord:
        row = SweepRow(**values, state="running")
        try:
            with self._writing.begin() as session:
                if is_repeated() and (there := _same_sweep(session, row)) is not None:
                    return sweep_record(there)
                session.add(row)
        except IntegrityError as error:
            raise CallerError(
                f"name: expected one that is new, got {row.name!r}, a sweep in {self.location}; "
                "continue that sweep, or choose another name"
            ) from error
        return sweep_record(row)

    def take_lease(self, sweep_id: int, *, owner: str | None = None, lease_seconds: float = 60) -> Writer:
        """Become the only driver of a sweep, until `Writer.release`.

        A lease is taken over at once if it has expired or its owner, a process of this machine, is dead.

        Args:
            sweep_id: Key of the sweep.
            owner: Name to hold it under, this process by default.
            lease_seconds: How long a lease lasts that is not renewed.

        Raises:
            CallerError: Somebody drives it; says who and until when.
        """
        generation = self._claim(sweep_id, owner or leases.this_process(), lease_seconds)
        return Writer(self._writing, sweep_id, generation, lease_seconds, self.patience)

    @patiently
    def _claim(self, sweep_id: int, owner: str, lease_seconds: float) -> int:
        with self._writing.begin() as session:
            return leases.claim(session, sweep_id, owner, lease_seconds)

    @patiently
    def is_driven(self, sweep_id: int) -> bool:
        """Whether a driver that may be alive holds the lease of a sweep."""
        with self._reading() as session:
            return leases.is_held(session, sweep_id)

    @patiently
    def held_generation(self, sweep_id: int) -> int | None:
        """Generation of the lease that a driver who may be alive holds of a sweep; None where nobody does."""
        with self._reading() as session:
            return leases.held_generation(session, sweep_id)

    @patiently
    def epochs_shared(self, sweep_id: int) -> int:
        """Epochs that trials took from the no-noise control instead of training them, summed over trials and seeds."""
        query = select(ResultRow.member_id, ResultRow.seed, func.max(ResultRow.epoch)).join(MemberRow)
        shared = query.where(MemberRow.sweep_id == sweep_id, ResultRow.shared)
        with self._reading() as session:
            return sum(row[2] for row in session.execute(shared.group_by(ResultRow.member_id, ResultRow.seed)))

    @patiently
    def request_stop(self, sweep_id: int) -> None:
        """Ask whoever drives a sweep to stop; no lease is needed for that."""
        with self._writing.begin() as session:
            session.execute(update(SweepRow).where(SweepRow.id == sweep_id).values(stop_requested=True))

    @patiently
    def stop_requested(self, sweep_id: int) -> bool:
        """Whether somebody asked the driver of a sweep to stop."""
        with self._reading() as session:
            return bool(session.scalar(select(SweepRow.stop_requested).where(SweepRow.id == sweep_id)))

    @patiently
    def outbox_keys(self, sweep_id: int) -> set[str]:
        """Keys of everything that was ever left for the tracking mirror."""
        query = select(OutboxRow.key).where(OutboxRow.sweep_id == sweep_id)
        with self._reading() as session:
            return set(session.scalars(query))

    @patiently
    def confirmations(self, sweep_id: int) -> list[ConfirmationRecord]:
        """Confirmations of a sweep, the first one first."""
        query = select(ConfirmationRow).where(ConfirmationRow.sweep_id == sweep_id).order_by(ConfirmationRow.number)
        with self._reading() as session:
            return [confirmation_record(row) for row in session.scalars(query)]

    @patiently
    def confirmed(self, confirmation_id: int) -> list[Confirmed]:
        """Trainings of a confirmation, in the order they were stored."""
        query = select(ConfirmedRow).where(ConfirmedRow.confirmation_id == confirmation_id).order_by(ConfirmedRow.id)
        with self._reading() as session:
            return [confirmed(row) for row in session.scalars(query)]

    @patiently
    def test_reads(self, data_digest: str) -> int:
        """How often test of these data was read: confirmations, of whatever sweep, that have measured on it."""
        counted = func.count(ConfirmationRow.id.distinct())
        query = select(SweepRow.identity, counted).join(ConfirmationRow).join(ConfirmedRow)
        measured = query.where(ConfirmedRow.stage == MEASURE).group_by(SweepRow.id)
        with self._reading() as session:
            return sum(n for identity, n in session.execute(measured) if identity.get("data.digest") == data_digest)

    @patiently
    def cards(self, sweep_id: int) -> list[CardRecord]:
        """Registered cards of a sweep, by version."""
        query = select(CardRow).where(CardRow.sweep_id == sweep_id).order_by(CardRow.version)
        with self._reading() as session:
            return [card_record(row) for row in session.scalars(query)]

    @patiently
    def register_card(self, sweep_id: int, card: NewCard, *, version: int | None = None) -> CardRecord:
        """Keep a card as the next version of its sweep's; one with the same content is the version that it is.

        No lease is needed for that: who drives a sweep writes no cards.

        Args:
            sweep_id: Of the sweep.
            card: The card.
            version: Of the card that it brings up to date, and whose place it takes; None: of none.
        """
        values = asdict(card)
        of_sweep = CardRow.sweep_id == sweep_id
        with self._writing.begin() as session:
            # Two that register at once would give the same version, where a database lets both write.
            session.execute(select(SweepRow.id).where(SweepRow.id == sweep_id).with_for_update())
            row = session.scalar(select(CardRow).where(of_sweep, CardRow.digest == card.digest))
            if row is None and version is not None:
                row = session.scalars(select(CardRow).where(of_sweep, CardRow.version == version)).one_or_none()
                for name, value in values.items() if row else ():
                    setattr(row, name, value)
            if row is None:
                following = (session.scalar(select(func.max(CardRow.version)).where(of_sweep)) or 0) + 1
                row = CardRow(**values, sweep_id=sweep_id, version=following, created_at=datetime.now(UTC))
                session.add(row)
                session.flush()
            return card_record(row)

    @patiently
    def unsent(self, sweep_id: int, limit: int = 50) -> list[OutboxRecord]:
        """What the tracking mirror has yet to show, in the order it was first enqueued."""
        query = select(OutboxRow).where(OutboxRow.sweep_id == sweep_id, OutboxRow.sent_at.is_(None))
        with self._reading() as session:
            return [outbox_record(row) for row in session.scalars(query.order_by(OutboxRow.position).limit(limit))]

    @patiently
    def unsent_count(self, sweep_id: int) -> int:
        """How much the tracking mirror has yet to show."""
        query = select(func.count(OutboxRow.id)).where(OutboxRow.sweep_id == sweep_id, OutboxRow.sent_at.is_(None))
        with self._reading() as session:
            return session.scalar(query) or 0

    def mark_sent(self, ids: Iterable[int]) -> None:
        """Record that the mirror shows these; an entry replaced since it was read stays unsent."""
        self._mark_sent(list(ids))

    @patiently
    def _mark_sent(self, ids: list[int]) -> None:
        with self._writing.begin() as session:
            session.execute(update(OutboxRow).where(OutboxRow.id.in_(ids)).values(sent_at=datetime.now(UTC)))

    def optuna_storage(self) -> StudyStorage:
        """Optuna's storage of this store: one object for all calls, closed with the store."""
        if self._optuna is None:
            self._optuna = self.patience.call(lambda: optuna_storage(self.location))
            self._optuna.patience = Patience(self.patience.seconds, self.patience.outage)
        return self._optuna


def _same_sweep(session: Session, row: SweepRow) -> SweepRow | None:
    """The sweep that was created before with everything that `row` says, its moment among it."""
    same = (SweepRow.name == row.name) & (SweepRow.digest == row.digest) & (SweepRow.created_at == row.created_at)
    return session.scalar(select(SweepRow).where(same))
