"""Transactions whose connection is lost: repeated as a whole, and safe to repeat where they may have been committed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from optuna.distributions import FloatDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial
from postgres_servers import Server
from sqlalchemy import Engine, text
from sqlalchemy.exc import InternalError, OperationalError
from store_examples import NO_NOISE, new_sweep, result, stored, trial

from noise_search.errors import CallerError
from noise_search.store import (
    Confirmed,
    LeaseLost,
    Location,
    NewCard,
    OutboxEntry,
    Store,
    StoreLostError,
    Writer,
    add_confirmed,
    begin_confirmation,
    finish_confirmation,
    is_current,
    open_store,
    patience,
    store_choice,
)
from noise_search.store.patience import Outage, Patience, is_repeated
from noise_search.store.renewing import Renewal
from noise_search.store.studies import Ending, StudyStorage, create_trials, end_trials

ENTRY = OutboxEntry("trial-0", "child", {"a": 1})
CARD = NewCard("best", 0, "searched", None, "d", "text", {"torch": "2"})
TRAINING = Confirmed("choose", "winner", 1, [], {}, {}, "", {}, diverged=False)
MOMENTS = {"created_at", "started_at", "finished_at", "sent_at"}


@dataclass
class Driver:
    """Of a sweep with one trial, which trains in a job, and a confirmation; `job` and `confirmation` are their keys."""

    store: Store
    writer: Writer
    job: int = 0
    confirmation: int = 0

    def prepare(self) -> None:
        (member,) = self.writer.add_members([trial(0)])
        self.job = self.writer.start_job([member.id], from_epoch=0, to_epoch=3)
        self.confirmation = begin_confirmation(self.writer, {"a": 1}).id
        self.writer.enqueue([OutboxEntry("sweep", "parent", {})])

    def finish(self) -> None:
        self.writer.finish_job(self.job, [result(1)], [ENTRY], epochs_trained=3, samples_scored=100, seconds=2.5)

    def take_another(self) -> int:
        with self.store.take_lease(new_sweep(self.store, "another").id) as writer:
            return writer.generation


WRITES: dict[str, Callable[[Driver], object]] = {
    "add_members": lambda own: own.writer.add_members([trial(1), NO_NOISE]),
    "promote": lambda own: own.writer.promote([1], 9),
    "start_job": lambda own: own.writer.start_job([1], from_epoch=3, to_epoch=9) > 0,
    "finish_job": Driver.finish,
    "fail_job": lambda own: own.writer.fail_job(own.job, "no", kind="error", blamed=1, seconds=2.0),
    "add_results": lambda own: own.writer.add_results([result(1)], [ENTRY]),
    "end_members": lambda own: own.writer.end_members({1: "outranked"}, "stopped", [ENTRY]),
    "abandon_running_jobs": lambda own: own.writer.abandon_running_jobs(),
    "mark_told": lambda own: own.writer.mark_told([1]),
    "enqueue": lambda own: own.writer.enqueue([ENTRY]),
    "send_again": lambda own: own.writer.send_again(),
    "mark_sent": lambda own: own.store.mark_sent(one.id for one in own.store.unsent(1)),
    "finish_sweep": lambda own: own.writer.finish_sweep("complete", [ENTRY]),
    "remove_sweep": lambda own: own.writer.remove_sweep(),
    "create_sweep": lambda own: new_sweep(own.store, "other").name,
    "take_lease": Driver.take_another,
    "release": lambda own: own.writer.release(),
    "request_stop": lambda own: own.store.request_stop(1),
    "register_card": lambda own: own.store.register_card(1, CARD).version,
    "begin_confirmation": lambda own: begin_confirmation(own.writer, {"a": 2}).number,
    "add_confirmed": lambda own: add_confirmed(own.writer, own.confirmation, [TRAINING], [ENTRY], seconds=1.5),
    "store_choice": lambda own: store_choice(own.writer, own.confirmation, {"a": 1}).choice,
    "finish_confirmation": lambda own: finish_confirmation(own.writer, own.confirmation, [ENTRY]).number,
}


def lose(engine: Engine, monkeypatch: pytest.MonkeyPatch, *, committed: bool) -> list[int]:
    """Have the connection end at the next commit, before the server has made it or after; gives a list of commits."""
    commit = engine.dialect.do_commit
    seen: list[int] = []

    def do_commit(connection: Any) -> None:
        seen.append(len(seen))
        if committed or len(seen) > 1:
            commit(connection)
        if len(seen) == 1:
            connection.driver_connection.close()
            raise psycopg.OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(engine.dialect, "do_commit", do_commit)
    return seen


def everything(store: Store) -> list[Any]:
    """What is stored; of moments only whether there is one."""
    sweeps = store.sweeps()
    kinds = (store.members, store.results, store.jobs, store.unsent, store.confirmations, store.cards)
    found: list[Any] = [sweeps, *(kind(sweep.id) for sweep in sweeps for kind in kinds), store.confirmed(1)]
    driven = [store.is_driven(sweep.id) for sweep in sweeps]
    return [[timeless(one) for one in part] for part in found] + [driven, sorted(store.outbox_keys(1))]


def timeless(record: Any) -> dict[str, Any]:
    # Keys of a server have gaps where a transaction was not made.
    left_out = {"id", "member_id", "members"}
    fields = {key: value for key, value in asdict(record).items() if key not in left_out}
    return {key: value is None if key in MOMENTS else value for key, value in fields.items()}


@pytest.mark.parametrize("committed", [False, True], ids=["not_made", "made"])
@pytest.mark.parametrize("write", WRITES)
def test_a_write_whose_commit_is_lost_is_there_once(
    write: str, committed: bool, shared: Location, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def left(place: Location | Path, *, losing: bool) -> list[Any]:
        with stored(place) as store, store.take_lease(new_sweep(store).id, lease_seconds=3600) as writer:
            own = Driver(store, writer)
            own.prepare()
            with monkeypatch.context() as patch:
                commits = lose(store._engine, patch, committed=committed) if losing else [0, 1]
                returned = WRITES[write](own)
            assert len(commits) > 1
            is_rows = isinstance(returned, list)
            return [everything(store), [timeless(one) for one in returned] if is_rows else returned]  # type: ignore[attr-defined]

    assert left(shared, losing=True) == left(tmp_path / "folder", losing=False)


def asked(value: float) -> FrozenTrial:
    """Trial as a driver stores it when it is asked."""
    return create_trial(state=TrialState.RUNNING, params={"x": value}, distributions={"x": FloatDistribution(0, 1)})


@pytest.mark.parametrize("committed", [False, True], ids=["not_made", "made"])
def test_trials_whose_commit_is_lost_are_asked_and_told_once(
    committed: bool, shared: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stored(shared) as store:
        storage = store.optuna_storage()
        study_id = storage.create_new_study([StudyDirection.MAXIMIZE], "one")
        create_trials(storage, study_id, [asked(0.0)])
        with monkeypatch.context() as patch:
            lose(storage.engine, patch, committed=committed)
            ids = create_trials(storage, study_id, [asked(0.25), asked(0.5)])
        with monkeypatch.context() as patch:
            lose(storage.engine, patch, committed=committed)
            end_trials(storage, [Ending(own, TrialState.COMPLETE, [0.1], {"limit": 0.5}) for own in ids])
        found = storage.get_all_trials(study_id)
        assert [(one.number, one.params["x"], one.state.name) for one in found] == [
            (0, 0.0, "RUNNING"),
            (1, 0.25, "COMPLETE"),
            (2, 0.5, "COMPLETE"),
        ]
        assert [one._trial_id for one in found[1:]] == ids
        assert [one.values for one in found[1:]] == [[0.1], [0.1]]


def test_studies_that_two_ask_at_once_give_every_number_once(shared: Location) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with stored(shared) as store, stored(shared) as other:
        storages: list[StudyStorage] = [store.optuna_storage(), other.optuna_storage()]
        study_id = storages[0].create_new_study([StudyDirection.MAXIMIZE], "one")
        with ThreadPoolExecutor(2) as threads:
            ask = lambda storage: [create_trials(storage, study_id, [asked(0.5)]) for _ in range(20)]  # noqa: E731
            list(threads.map(ask, storages))
        assert sorted(one.number for one in storages[0].get_all_trials(study_id)) == list(range(40))


def test_a_mistake_is_raised_at_once(shared: Location) -> None:
    with stored(shared) as store, store._engine.connect() as connection:

        def ask() -> None:
            asked_of.append(is_repeated())
            connection.execute(text("SELECT 1 FROM nowhere"))

        asked_of: list[bool] = []
        with pytest.raises(Exception, match="nowhere"):
            Patience(60).call(ask)
        assert asked_of == [False]


def test_patience_ends_and_nobody_waits_again_before_the_server_is_back() -> None:
    lost = OperationalError("SELECT 1", None, psycopg.OperationalError("connection refused"))
    tries: list[bool] = []

    def ask() -> int:
        tries.append(is_repeated())
        if len(tries) != came_back:
            raise lost
        return 7

    patience, came_back = Patience(0.3), 0
    with pytest.raises(StoreLostError, match=r"for 0.3 s \(store.retry_seconds\): connection refused"):
        patience.call(ask)
    assert tries[:2] == [False, True]
    tries.clear()
    with pytest.raises(StoreLostError):
        patience.call(ask)
    assert tries == [False]
    came_back = 2
    assert patience.call(ask) == 7  # the server is back
    tries.clear()
    assert patience.call(ask) == 7
    assert tries == [False, True]
    assert not is_repeated()


@pytest.mark.slow
def test_a_store_is_opened_when_its_server_is_back(postgres: Server, shared: Location) -> None:
    postgres.stop("fast")
    back = threading.Timer(1.0, postgres.start)
    back.start()
    try:
        with pytest.raises(CallerError, match="that can be reached"):
            open_store(shared, create=False)
        assert is_current(shared, patient=True)
        with open_store(shared, create=True, patient=True) as store:
            assert store.sweeps() == []
    finally:
        back.join()


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("p%40ss", "other", "lets this user in .*password authentication failed"),
        (":p%40ss%3Aw%2Frd", "", "lets this user in .*no password supplied"),
        ("/test_", "/no_test_", r'is there \(make it with createdb, .*database "no_test_.*" does not exist'),
    ],
)
def test_whoever_is_not_let_in_waits_for_nothing(shared: Location, right: str, wrong: str, said: str) -> None:
    place = Location(shared.folder, str(shared.server).replace(right, wrong), retry_seconds=5)
    for ask in (lambda: open_store(place, create=True, patient=True), lambda: is_current(place, patient=True)):
        with pytest.raises(CallerError, match=said):
            ask()


def lost() -> OperationalError:
    """What SQLAlchemy raises where a connection is lost."""
    return OperationalError("", {}, psycopg.OperationalError("gone"))


def test_before_a_transaction_is_tried_again_it_is_asked_whether_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "FIRST_PAUSE_SECONDS", 0.01)
    tried: list[str] = []

    def transact() -> None:
        tried.append("transact")
        raise lost()

    def refuse() -> None:
        tried.append("asked")
        if tried.count("asked") == 2:
            raise LeaseLost("taken over")

    own = Patience(60)
    own.before_again = refuse
    with pytest.raises(LeaseLost):
        own.call(transact)
    assert tried == ["transact", "asked", "transact", "asked"]


def test_a_loss_is_told_at_every_try_and_warned_of_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(patience, "FIRST_PAUSE_SECONDS", 0.01)
    own = Patience(60)
    told: list[bool] = []
    own.outage.on_loss = told.append
    fails = [True, True, True, False, True, False]

    def transact() -> None:
        if fails.pop(0):
            raise lost()

    with caplog.at_level(logging.WARNING):
        own.call(transact)
        assert told == [True, True, True, False]
        own.call(transact)
    warned = [record.getMessage() for record in caplog.records]
    assert warned == ["database lost, trying again for 60 s: gone", "database found again"] * 2


def test_who_has_waited_hears_of_the_end_also_where_another_has_found_it_first(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(patience, "FIRST_PAUSE_SECONDS", 0.01)
    own = Patience(60)
    told: list[bool] = []
    own.outage.on_loss = told.append

    def transact() -> None:
        if told.count(True) < 2:
            raise lost()
        Patience(60, own.outage).call(lambda: None)  # the mirror, say, on its own thread

    with caplog.at_level(logging.WARNING):
        own.call(transact)
    assert told == [True, True, False, False]  # of the other, and then its own
    assert [record.getMessage() for record in caplog.records].count("database found again") == 1


def test_who_gave_up_leaves_it_to_the_next_success_to_say_that_it_is_over(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(patience, "FIRST_PAUSE_SECONDS", 0.01)

    def fail() -> None:
        raise lost()

    one = Patience(0.05)
    other = Patience(60, one.outage)  # as the storage of Optuna's studies has it, on the same server
    with caplog.at_level(logging.WARNING):
        with pytest.raises(StoreLostError):
            one.call(fail)
        other.call(lambda: None)
        with pytest.raises(StoreLostError):
            one.call(fail)  # without waiting again: it has not been found by this one
    warned = [record.getMessage() for record in caplog.records]
    assert warned == ["database lost, trying again for 0 s: gone", "database found again"]


def test_threads_that_lose_one_server_warn_of_it_once(caplog: pytest.LogCaptureFixture) -> None:
    outage, ready = Outage(), threading.Barrier(8)

    def lose() -> None:
        ready.wait()
        outage.goes_on("lost")

    with caplog.at_level(logging.WARNING):
        threads = [threading.Thread(target=lose) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        outage.is_over()
        outage.is_over()
    assert [record.getMessage() for record in caplog.records] == ["lost", "database found again"]


def test_after_ctrl_c_nobody_waits_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "FIRST_PAUSE_SECONDS", 0.01)
    calls: list[BaseException] = [lost(), KeyboardInterrupt()]

    def transact() -> None:
        raise calls.pop(0)

    own = Patience(60)
    with pytest.raises(KeyboardInterrupt):
        own.call(transact)
    calls.append(lost())
    with pytest.raises(StoreLostError):
        own.call(transact)


def test_a_lease_is_renewed_again_after_a_server_that_was_a_standby() -> None:
    failures = [InternalError("", {}, psycopg.errors.ReadOnlySqlTransaction("standby"))]
    renewed = threading.Event()

    def renew() -> None:
        if failures:
            raise failures.pop()
        renewed.set()

    renewal = Renewal(renew, 0.03, "a lease")
    assert renewed.wait(30)
    assert renewal.is_alive()
    renewal.end()
