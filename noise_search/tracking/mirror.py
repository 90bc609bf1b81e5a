"""Carry a sweep's outbox to a sink on a thread of its own, in order, until everything is there.

The driver commits its results and the messages about them to its own store and calls `wake`. The mirror may
lag, fail or be killed without costing a trial: what it has not marked as sent it sends again, and sinks take
every message twice without harm.

    while not closed:
        for each unsent record, in the outbox's order:
            sink.send(message); outbox.mark_sent(record)
        wait for `wake`; after a failure wait 0.2 s, 0.4 s, ... 30 s and start again at the same record
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Protocol, Self

from noise_search.tracking.messages import Message, from_payload

_log = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 30.0
CLOSE_SECONDS = 30.0
_LOOK_SECONDS = 0.05


class OutboxRecord(Protocol):
    """A message waiting in the store."""

    @property
    def id(self) -> int:
        """What `mark_sent` knows the record by; a record whose payload was replaced has a new one."""

    @property
    def kind(self) -> str:
        """Kind of the message, as `messages.from_payload` knows it."""

    @property
    def payload(self) -> Mapping[str, object]:
        """What the message's `to_payload` gave."""


class Outbox(Protocol):
    """Where messages wait until they are sent. Called from the mirror's thread."""

    def unsent(self, sweep_id: int, limit: int = 50) -> Sequence[OutboxRecord]:
        """Up to `limit` records of the sweep that are not marked as sent, in the order to send them."""

    def mark_sent(self, ids: Sequence[int]) -> None:
        """Remember that the records were sent; those replaced since they were read stay unsent."""


class Sink(Protocol):
    """Where messages go. Made, used and closed on the mirror's thread alone.

    `send` must leave the same runs when it gets a message twice, also where the first time ended half way.
    """

    def send(self, message: Message) -> None:
        """Write `message`, all of it, or raise."""

    def close(self) -> None:
        """Let go of what the sink holds."""


class Mirror:
    """Sends the outbox of one sweep to a sink, from a daemon thread.

    Args:
        outbox: Where the messages wait.
        sweep_id: Whose messages.
        make_sink: Makes the sink, on the thread and only once there is something to send: MLflow takes
            seconds to import.

    As a context manager it starts on entry and closes on exit, waiting up to `CLOSE_SECONDS`.

    >>> with Mirror(store, sweep_id, lambda: MlflowSink(url, folder)) as mirror:  # doctest: +SKIP
    ...     store.enqueue(...)
    ...     mirror.wake()
    """

    def __init__(self, outbox: Outbox, sweep_id: int, make_sink: Callable[[], Sink]) -> None:
        self._outbox = outbox
        self._sweep_id = sweep_id
        self._make_sink = make_sink
        self._sink: Sink | None = None
        self._thread = threading.Thread(target=self._run, name=f"mirror of sweep {sweep_id}", daemon=True)
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._abandoned = threading.Event()
        self._drained = False
        self._pause_seconds = FIRST_PAUSE_SECONDS
        self._lag = 0
        self._error: str | None = None
        self._logged: set[str] = set()

    @property
    def lag(self) -> int:
        """Messages unsent at the last look, which sees no more of them than the outbox gives at once (50)."""
        return self._lag

    @property
    def error(self) -> str | None:
        """Why the message now due could not be sent; None once it was."""
        return self._error

    def start(self) -> None:
        """Start the thread; it first sends what was left from earlier."""
        self._thread.start()

    def wake(self) -> None:
        """Say that the outbox has something new. Does not shorten the pause after a failure."""
        self._wake.set()

    def close(self, timeout_seconds: float, failing_seconds: float = math.inf) -> bool:
        """Send what is pending, then end the thread; return whether everything was sent.

        After `timeout_seconds`, or after `failing_seconds` in which nothing could be sent, the rest stays in the
        outbox for the next start, and the outbox is not touched again, even where the sink is in the middle of a
        message. False also where it was never started.
        """
        if self._thread.ident is None:
            return False
        self._closing.set()
        self._wake.set()
        end = time.monotonic() + timeout_seconds
        sound = time.monotonic()  # when it was last seen not to fail
        while self._thread.is_alive() and time.monotonic() < min(end, sound + failing_seconds):
            if self._error is None:
                sound = time.monotonic()
            self._thread.join(_LOOK_SECONDS)
        self._abandoned.set()
        return self._drained and not self._thread.is_alive()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(CLOSE_SECONDS)

    def _run(self) -> None:
        while not self._abandoned.is_set():
            # In this order: a wake after the clear is not lost, and what was enqueued before `close` is
            # seen by the look that ends the thread.
            self._wake.clear()
            closing = self._closing.is_set()
            try:
                everything_sent = self._send_pending()
            except Exception as error:
                self._note(error)
                self._rest()
                continue
            if closing:
                self._drained = everything_sent
                break
            self._wake.wait()
        self._close_sink()

    def _send_pending(self) -> bool:
        while not self._abandoned.is_set():
            records = self._outbox.unsent(self._sweep_id)
            self._lag = len(records)
            if not records:
                self._recovered()
                return True
            for record in records:
                self._send(record)
                if self._abandoned.is_set():
                    return False
                self._outbox.mark_sent([record.id])
                self._lag -= 1
                self._recovered()
        return False

    def _send(self, record: OutboxRecord) -> None:
        message = from_payload(record.kind, record.payload)
        if self._sink is None:
            self._sink = self._make_sink()
        self._sink.send(message)

    def _note(self, error: Exception) -> None:
        lines = str(error).splitlines() or [""]
        self._error = f"{type(error).__name__}: {lines[0]}"
        if self._error not in self._logged:
            self._logged.add(self._error)
            _log.warning("MLflow does not take what the sweep has for it, trying again: %s", self._error)

    def _rest(self) -> None:
        """Wait out the back-off; `close` cuts it short once, and its time-out for good."""
        closing = self._closing.is_set()
        if not (self._abandoned if closing else self._closing).wait(self._pause_seconds):
            self._pause_seconds = min(2 * self._pause_seconds, LONGEST_PAUSE_SECONDS)
        elif not closing:
            self._pause_seconds = FIRST_PAUSE_SECONDS

    def _recovered(self) -> None:
        self._error = None
        self._pause_seconds = FIRST_PAUSE_SECONDS

    def _close_sink(self) -> None:
        if self._sink is None:
            return
        try:
            self._sink.close()
        except Exception as error:
            self._note(error)
