"""Waiting for a database server that is lost: a transaction that fails with it is tried again as a whole.

A commit whose outcome is not known may have been made: `is_repeated` tells a transaction that it may be there already.
What is written is found by its keys (a trial by its number, a result by member, epoch and seed); whatever has no key of
its own looks, when it is repeated, for what the time before has left.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import TYPE_CHECKING, Concatenate, ParamSpec, Protocol, TypeVar

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

if TYPE_CHECKING:
    from tenacity import RetryCallState

_log = logging.getLogger(__name__)
_again: ContextVar[bool] = ContextVar("again", default=False)
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 10.0
# Connection lost; server ends or starts; standby; too many connections; deadlock; serialization; lock held for long.
_PASSING = ("08", "57P0", "25006", "25P03", "53300", "40P01", "40001", "55P03")
# A connection that fails has no such state, only words; where they are in another language the server is waited for.
_REFUSALS = re.compile(r"authentication failed|no password supplied|does not exist|permission denied|pg_hba\.conf")

Parameters = ParamSpec("Parameters")
Returned = TypeVar("Returned")


class StoreLostError(RuntimeError):
    """The database did not come back in time; what was being written is not, or is there whole."""


class Outage:
    """What several threads, or several databases of one server, know of its being away: told once, and once when over.

    `on_loss` is told True whenever a try has failed, and False when one has succeeded after that; it uses no database.
    """

    def __init__(self) -> None:
        self.on_loss: Callable[[bool], None] | None = None
        self._lock = threading.Lock()
        self._is_told = False

    def goes_on(self, text: str) -> None:
        """A try has failed."""
        with self._lock:
            is_new, self._is_told = not self._is_told, True
        if is_new:
            _log.warning("%s", text)
        if self.on_loss is not None:
            self.on_loss(True)

    def is_over(self, *, waited: bool = False) -> None:
        """A try has succeeded; nothing is said where none had failed.

        Args:
            waited: Whether whoever made it had tried before: it hears of the end even if another has found it first.
        """
        if not (waited or self._is_told):
            return
        with self._lock:
            was_told, self._is_told = self._is_told, False
        if was_told:
            _log.warning("database found again")
        if self.on_loss is not None:
            self.on_loss(False)


class Patience:
    """How long whoever uses a store waits for its server.

    Args:
        seconds: For each transaction; 0 never waits. Once it was in vain, nobody waits before the server is back.
        outage: Shared with others that wait for the same server; None: there are none.

    `before_again` is called before a transaction is tried again: meanwhile another may have taken what it writes to.
    """

    def __init__(self, seconds: float, outage: Outage | None = None) -> None:
        self.seconds = seconds
        self.outage = Outage() if outage is None else outage
        self.before_again: Callable[[], object] | None = None
        self._given_up = False

    def call(self, transact: Callable[[], Returned]) -> Returned:
        """Result of a transaction, tried again while the server is lost.

        Raises:
            StoreLostError: It was lost for too long.
        """
        try:
            found = transact()
        except Exception as error:
            if not self.seconds or not is_lost(error):
                raise
            if self._given_up:
                raise self._lost(error) from error
            self._tell(error)
            found = self._again(transact)
            self.outage.is_over(waited=True)
        else:
            self.outage.is_over()
        self._given_up = False
        return found

    def _tell(self, error: BaseException) -> None:
        self.outage.goes_on(f"database lost, trying again for {self.seconds:.0f} s: {in_one_line(error)}")

    def _again(self, transact: Callable[[], Returned]) -> Returned:
        from tenacity import RetryError, Retrying, retry_if_exception, stop_after_delay, wait_random_exponential

        waits = wait_random_exponential(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS)
        tries = Retrying(
            retry=retry_if_exception(is_lost),
            wait=waits,
            stop=stop_after_delay(self.seconds),
            before_sleep=self._tell_of,
        )
        try:
            with _repeating():
                return tries(lambda: self._checked(transact))
        except KeyboardInterrupt:
            self._given_up = True  # what is left to close is not to wait once more
            raise
        except RetryError as error:
            self._given_up = True
            last = error.last_attempt.exception()
            assert last is not None
            raise self._lost(last) from last

    def _tell_of(self, state: RetryCallState) -> None:
        assert state.outcome is not None
        if (error := state.outcome.exception()) is not None:
            self._tell(error)

    def _checked(self, transact: Callable[[], Returned]) -> Returned:
        if self.before_again is not None:
            self.before_again()
        return transact()

    def _lost(self, error: BaseException) -> StoreLostError:
        return StoreLostError(
            f"store: its database could not be reached for {self.seconds:g} s (store.retry_seconds): "
            f"{in_one_line(error)}; once it can, the same command goes on"
        )


class Patient(Protocol):
    """Whoever makes transactions with patience."""

    @property
    def patience(self) -> Patience:
        """For the database it uses."""


Own = TypeVar("Own", bound=Patient)


def patiently(
    transact: Callable[Concatenate[Own, Parameters], Returned],
) -> Callable[Concatenate[Own, Parameters], Returned]:
    """Have a function that is one transaction tried again while the server is lost."""

    @wraps(transact)
    def call(own: Own, /, *arguments: Parameters.args, **options: Parameters.kwargs) -> Returned:
        return own.patience.call(lambda: transact(own, *arguments, **options))

    return call


def is_repeated() -> bool:
    """Whether the transaction at hand was tried before, and may have been committed then."""
    return _again.get()


def is_lost(error: BaseException | None) -> bool:
    """Whether an error, or what it was raised from, is one of a server that may be back in a while."""
    while error is not None and not isinstance(error, DBAPIError):
        error = error.__cause__
    said = None if error is None else error.orig
    if said is None or not hasattr(said, "sqlstate"):  # SQLite has none
        return False
    state = said.sqlstate
    if state is None:  # the connection, not the statement
        return isinstance(error, OperationalError | InterfaceError) and not is_refused(error)
    return str(state).startswith(_PASSING)


def is_refused(error: DBAPIError) -> bool:
    """Whether a server was reached that lets this user not in, or not into this database: waiting is of no use."""
    return getattr(error.orig, "sqlstate", "") is None and _REFUSALS.search(str(error.orig)) is not None


def in_one_line(error: BaseException) -> str:
    """What an error says, without the statement and its values."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, DBAPIError):
        cause = cause.__cause__
    return " ".join(str(error if cause is None else cause.orig).split())


@contextmanager
def _repeating() -> Iterator[None]:
    token = _again.set(True)
    try:
        yield
    finally:
        _again.reset(token)
