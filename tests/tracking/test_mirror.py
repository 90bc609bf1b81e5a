from __future__ import annotations

import json
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from noise_search.store import OutboxEntry, locate, open_store
from noise_search.tracking.memory import MemorySink
from noise_search.tracking.messages import MemberFinished, Message, MetricPoint, SweepClosed, SweepOpened
from noise_search.tracking.mirror import Mirror, Sink
from noise_search.tracking.mlflow_sink import MlflowSink
from noise_search.tracking.places import Place

pytestmark = pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy is deprecated:sqlalchemy.exc.SADeprecationWarning"
)

OPENED = SweepOpened("sweep a", "digits", {"model": "mlp"}, {}, started_ms=1_000)
CLOSED = SweepClosed("sweep a", "digits", "FINISHED", 9_000, (), {}, ())


def _member(number: int) -> MemberFinished:
    points = (MetricPoint("clean", 0.5, 1, 2_000),)
    return MemberFinished("sweep a", "digits", f"trial {number}", {}, {}, points, "FINISHED", 2_000, 3_000)


@dataclass(frozen=True)
class Record:
    id: int
    sweep_id: int
    key: str
    kind: str
    payload: dict[str, object]


class SqliteOutbox:
    """A small outbox in a file; every call has its own connection, as calls from two threads need."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._do("CREATE TABLE outbox (id INTEGER PRIMARY KEY, sweep_id, key, kind, payload, sent DEFAULT 0)")

    def put(self, message: Message, sweep_id: int = 1) -> None:
        payload = json.dumps(message.to_payload(), allow_nan=False)
        row = (sweep_id, message.sweep, message.kind, payload)
        self._do("INSERT INTO outbox (sweep_id, key, kind, payload) VALUES (?, ?, ?, ?)", row)

    def unsent(self, sweep_id: int, limit: int = 50) -> list[Record]:
        wanted = "FROM outbox WHERE sweep_id = ? AND NOT sent ORDER BY id LIMIT ?"
        rows = self._do(f"SELECT id, sweep_id, key, kind, payload {wanted}", (sweep_id, limit))
        return [Record(number, of, key, kind, json.loads(payload)) for number, of, key, kind, payload in rows]

    def mark_sent(self, ids: Sequence[int]) -> None:
        for one in ids:
            self._do("UPDATE outbox SET sent = 1 WHERE id = ?", (one,))

    def _do(self, statement: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self._path, timeout=20)) as connection, connection:
            return connection.execute(statement, values).fetchall()


class Listening:
    """Delegates to a sink and remembers what came; raises the errors it was given first, one a call."""

    def __init__(self, inner: Sink, *errors: Exception) -> None:
        self._inner = inner
        self._errors = list(errors)
        self.tried: list[str] = []
        self.closed = threading.Event()
        self.thread = ""

    def send(self, message: Message) -> None:
        self.thread = threading.current_thread().name
        self.tried.append(_name(message))
        if self._errors:
            raise self._errors.pop(0)
        self._inner.send(message)

    def close(self) -> None:
        self._inner.close()
        self.closed.set()


class Stuck:
    """Holds the first message until let go, as a database that is locked."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.let_go = threading.Event()

    def send(self, message: Message) -> None:  # noqa: ARG002
        self.reached.set()
        self.let_go.wait()

    def close(self) -> None: ...


@pytest.fixture
def outbox(tmp_path: Path) -> SqliteOutbox:
    return SqliteOutbox(tmp_path / "outbox.db")


def _name(message: Message) -> str:
    return message.member if isinstance(message, MemberFinished) else message.kind


def _eventually(true: Callable[[], bool]) -> bool:
    until = time.monotonic() + 10
    while not true() and time.monotonic() < until:
        time.sleep(0.005)
    return true()


def test_messages_reach_the_sink_in_the_order_of_the_outbox(outbox: SqliteOutbox) -> None:
    sink = Listening(MemorySink())
    messages: list[Message] = [OPENED, *(_member(n) for n in range(60)), CLOSED]
    for message in messages:
        outbox.put(message)
    mirror = Mirror(outbox, 1, lambda: sink)
    mirror.start()
    assert mirror.close(10)
    assert sink.tried == [_name(message) for message in messages]
    assert outbox.unsent(1) == []
    assert (mirror.lag, mirror.error) == (0, None)


def test_only_the_messages_of_its_own_sweep_are_sent(outbox: SqliteOutbox) -> None:
    outbox.put(_member(1), sweep_id=1)
    outbox.put(_member(2), sweep_id=2)
    sink = Listening(MemorySink())
    with Mirror(outbox, 2, lambda: sink):
        pass
    assert sink.tried == ["trial 2"]
    assert len(outbox.unsent(1)) == 1


def test_a_wake_sends_what_was_enqueued_meanwhile(outbox: SqliteOutbox) -> None:
    memory = MemorySink()
    with Mirror(outbox, 1, lambda: memory) as mirror:
        for number in range(3):
            outbox.put(_member(number))
            mirror.wake()
            assert _eventually(lambda: not outbox.unsent(1))
            assert ("sweep a", f"trial {number}") in memory.runs


def test_sink_and_driver_have_threads_of_their_own(outbox: SqliteOutbox) -> None:
    sink = Listening(MemorySink())
    made_on = []

    def make() -> Sink:
        made_on.append(threading.current_thread().name)
        return sink

    outbox.put(OPENED)
    with Mirror(outbox, 1, make):
        pass
    assert [*made_on, sink.thread] == ["mirror of sweep 1"] * 2


def test_a_sink_is_not_made_until_there_is_something_to_send(outbox: SqliteOutbox) -> None:
    made: list[Sink] = []

    def make() -> Sink:
        made.append(MemorySink())
        return made[0]

    mirror = Mirror(outbox, 1, make)
    mirror.start()
    assert mirror.close(10)
    assert made == []


def test_a_sink_that_fails_twice_gets_the_same_message_until_it_is_taken(outbox: SqliteOutbox) -> None:
    memory = MemorySink()
    sink = Listening(memory, OSError("disk full"), OSError("disk full"))
    for message in (OPENED, _member(1), CLOSED):
        outbox.put(message)
    mirror = Mirror(outbox, 1, lambda: sink)
    mirror.start()
    assert mirror.close(10)
    assert sink.tried == ["sweep_opened", "sweep_opened", "sweep_opened", "trial 1", "sweep_closed"]
    assert memory.runs["sweep a", None].status == "FINISHED"


def test_a_failure_is_shown_while_it_lasts_and_logged_once(
    outbox: SqliteOutbox, caplog: pytest.LogCaptureFixture
) -> None:
    broken = OSError("disk full\nwith details")
    sink = Listening(MemorySink(), broken, broken, broken)
    outbox.put(OPENED)
    with caplog.at_level(logging.WARNING, "noise_search"), Mirror(outbox, 1, lambda: sink) as mirror:
        assert _eventually(lambda: mirror.error == "OSError: disk full")
        assert mirror.lag == 1
    assert mirror.error is None
    assert [record.getMessage() for record in caplog.records] == [
        "MLflow does not take what the sweep has for it, trying again: OSError: disk full"
    ]


def test_a_sink_that_cannot_be_made_at_first_is_made_later(outbox: SqliteOutbox) -> None:
    memory = MemorySink()
    errors: list[Exception] = [OSError("no database yet")]

    def make() -> Sink:
        if errors:
            raise errors.pop()
        return memory

    outbox.put(OPENED)
    mirror = Mirror(outbox, 1, make)
    mirror.start()
    assert mirror.close(10)
    assert ("sweep a", None) in memory.runs


def test_a_payload_nobody_understands_is_an_error_and_holds_up_what_follows(outbox: SqliteOutbox) -> None:
    outbox._do("INSERT INTO outbox (sweep_id, key, kind, payload) VALUES (1, 'k', 'sweep_exploded', '{}')")
    outbox.put(OPENED)
    mirror = Mirror(outbox, 1, MemorySink)
    mirror.start()
    assert _eventually(lambda: mirror.error is not None)
    assert mirror.error is not None
    assert mirror.error.startswith("CallerError: outbox.kind: expected one of")
    assert not mirror.close(0.05)
    assert len(outbox.unsent(1)) == 2


def test_waking_does_not_shorten_the_pause_after_a_failure(outbox: SqliteOutbox) -> None:
    sink = Listening(MemorySink(), *(OSError("locked") for _ in range(100)))
    outbox.put(OPENED)
    mirror = Mirror(outbox, 1, lambda: sink)
    mirror.start()
    until = time.monotonic() + 0.5
    while time.monotonic() < until:
        mirror.wake()
        time.sleep(0.005)
    # Pauses of 0.2 and 0.4 seconds leave time for two attempts, or a third on a late clock.
    assert 1 <= len(sink.tried) <= 3
    mirror.close(0)


def test_closing_tries_once_more_without_waiting_out_the_pause(outbox: SqliteOutbox) -> None:
    sink = Listening(MemorySink(), *(OSError("locked") for _ in range(4)))
    outbox.put(OPENED)
    mirror = Mirror(outbox, 1, lambda: sink)
    mirror.start()
    # The fourth failure is followed by a pause of 1.6 seconds.
    assert _eventually(lambda: len(sink.tried) == 4)
    started = time.monotonic()
    assert mirror.close(10)
    assert time.monotonic() - started < 1.4


def test_closing_in_time_sends_what_is_pending_and_closes_the_sink(outbox: SqliteOutbox) -> None:
    sink = Listening(MemorySink())
    with Mirror(outbox, 1, lambda: sink) as mirror:
        for number in range(20):
            outbox.put(_member(number))
        assert mirror.close(10)
    assert len(sink.tried) == 20
    assert sink.closed.is_set()


def test_closing_with_a_sink_that_does_not_answer_leaves_the_rest_unsent(outbox: SqliteOutbox) -> None:
    sink = Stuck()
    for number in range(3):
        outbox.put(_member(number))
    mirror = Mirror(outbox, 1, lambda: sink)
    mirror.start()
    assert sink.reached.wait(10)
    started = time.monotonic()
    assert not mirror.close(0.1)
    assert time.monotonic() - started < 2
    sink.let_go.set()
    mirror._thread.join(10)
    # Also the message that got through late stays: after `close` the outbox is another owner's.
    assert [record.payload["member"] for record in outbox.unsent(1)] == ["trial 0", "trial 1", "trial 2"]


def test_a_mirror_that_was_never_started_has_sent_nothing(outbox: SqliteOutbox) -> None:
    assert not Mirror(outbox, 1, MemorySink).close(1)


def test_an_outbox_that_fails_does_not_end_the_mirror(outbox: SqliteOutbox) -> None:
    class Flaky(SqliteOutbox):
        failures = 2

        def __init__(self) -> None:
            self._path = outbox._path

        def mark_sent(self, ids: Sequence[int]) -> None:
            if self.failures:
                self.failures -= 1
                raise sqlite3.OperationalError("database is locked")
            super().mark_sent(ids)

    memory = MemorySink()
    outbox.put(_member(1))
    mirror = Mirror(Flaky(), 1, lambda: memory)
    mirror.start()
    assert mirror.close(10)
    assert set(memory.runs) == {("sweep a", None), ("sweep a", "trial 1")}


def test_a_sweep_is_mirrored_into_mlflow_through_failures(
    outbox: SqliteOutbox, mlflow_url: str, tmp_path: Path
) -> None:
    from mlflow import MlflowClient

    def make() -> Sink:
        real = MlflowSink(Place(mlflow_url, tmp_path / "artifacts", ""))
        return Listening(real, OSError("locked"), OSError("locked"))

    mirror = Mirror(outbox, 1, make)
    with mirror:
        for message in (OPENED, _member(1), _member(2), CLOSED):
            outbox.put(message)
            mirror.wake()
        assert mirror.close(30)
    client: Any = MlflowClient(mlflow_url, registry_uri=mlflow_url)
    runs = client.search_runs([client.get_experiment_by_name("digits").experiment_id])
    assert {(run.info.run_name, run.info.status) for run in runs} == {
        ("sweep a", "FINISHED"),
        ("trial 1", "FINISHED"),
        ("trial 2", "FINISHED"),
    }


def test_a_message_replaced_in_the_store_while_it_is_sent_is_sent_again(tmp_path: Path) -> None:
    with open_store(locate(tmp_path / "store"), create=True) as store:
        sweep = store.create_sweep(name="sweep a", digest="d", identity={}, config={}, budget_trials=1)
        with store.take_lease(sweep.id) as writer:

            class Replacing(Listening):
                def send(self, message: Message) -> None:
                    super().send(message)
                    if len(self.tried) == 1:
                        enqueue(replace(OPENED, tags={"state": "continued"}))

            def enqueue(message: Message) -> None:
                writer.enqueue([OutboxEntry(_name(message), message.kind, message.to_payload())])

            memory = MemorySink()
            enqueue(OPENED)
            enqueue(_member(1))
            mirror = Mirror(store, sweep.id, lambda: Replacing(memory))
            mirror.start()
            assert mirror.close(10)
            assert store.unsent(sweep.id) == []
    assert memory.runs["sweep a", None].tags == {"state": "continued"}
    assert ("sweep a", "trial 1") in memory.runs
