"""Connections to the databases of a store, and what their errors mean to a caller."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, sessionmaker

from noise_search.errors import CallerError, installs
from noise_search.store.locations import Location
from noise_search.store.patience import is_lost, is_refused

_NO_PRIVILEGE = "42501"
_NO_DATABASE = re.compile(r'database ".*" does not exist')
BUSY_SECONDS = 30.0
# A server that is gone without a word, with its machine or the network, is noticed after a minute and not in hours.
_SERVER: dict[str, object] = {
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
    "application_name": "noise-search",
}


def connect_engine(url: str, *, foreign_keys: bool = True) -> Engine:
    """Engine for one of our databases; opens nothing yet.

    Args:
        url: Of the database.
        foreign_keys: False for migrations. On SQLite rebuilding a table drops it first, and its rows' dependants with
            it; on a server they may take longer than `add_limits` allows.
    """
    engine = create_engine(
        url,
        **engine_options(url),
        json_serializer=partial(json.dumps, allow_nan=False, ensure_ascii=False),
    )
    if engine.dialect.name != "sqlite":
        if foreign_keys:
            add_limits(engine)
        return engine
    add_pragmas(engine)
    if foreign_keys:
        event.listen(engine, "connect", _enforce_foreign_keys)
    event.listen(engine, "connect", _leave_transactions_to_us)
    event.listen(engine, "begin", _begin)
    return engine


def engine_options(url: str) -> dict[str, Any]:
    """Options of an engine for this database: a busy SQLite file is waited for; a server is asked before it is used."""
    if url.startswith("sqlite"):
        return {"connect_args": {"timeout": BUSY_SECONDS}}
    try:
        import psycopg  # noqa: F401
    except ImportError as error:
        raise CallerError(f"store: PostgreSQL needs psycopg ({error}); {installs('postgres')}") from error
    # A driver, its mirror and its lease use three connections at a time.
    return {"connect_args": _SERVER, "pool_pre_ping": True, "pool_size": 3, "max_overflow": 7}


def add_limits(engine: Engine) -> None:
    """Have every new connection to a server give up a lock that others hold for long, and lose its own if it hangs.

    Who stops in the middle of a transaction loses its locks before its lease has expired.
    """
    event.listen(engine, "connect", _set_limits)


def add_pragmas(engine: Engine) -> None:
    """Have every new connection write ahead, wait for other writers, and sync at checkpoints only."""
    event.listen(engine, "connect", _set_pragmas)


def readers(engine: Engine) -> sessionmaker[Session]:
    """Sessions that see one snapshot and block nobody."""
    if engine.dialect.name == "postgresql":  # where each statement has its own unless one asks
        engine = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    return sessionmaker(engine, expire_on_commit=False)


def writers(engine: Engine) -> sessionmaker[Session]:
    """Sessions for writing; on SQLite they take the write lock first, so that a second writer waits.

    There a transaction that reads before it writes would fail at once if another wrote in between. In PostgreSQL what
    two may write at once is locked by its sweep's row.
    """
    return sessionmaker(engine.execution_options(immediate=True), expire_on_commit=False)


@contextmanager
def explained(place: Path | Location) -> Iterator[None]:
    """Turn what is said of an unusable database, a file's path or a server's address, into a `CallerError`."""
    try:
        yield
    except OSError as error:
        raise CallerError(f"store: expected a file that can be read, got {place} ({error.strerror})") from error
    except DBAPIError as error:
        name = getattr(error.orig, "sqlite_errorname", "")
        if message := _meaning(name) if name else _meaning_of_server(error):
            said = " ".join(str(error.orig).split())
            raise CallerError(f"store: expected {message}, got {place} ({said})") from error
        raise


def _meaning_of_server(error: DBAPIError) -> str | None:
    state = getattr(error.orig, "sqlstate", None)
    if state == _NO_PRIVILEGE:
        return "a database in which this user may do that (docs/store.md says what to grant)"
    if _NO_DATABASE.search(str(error.orig)):
        return "a PostgreSQL database that is there (make it with createdb, as docs/store.md shows, or mend its name)"
    if is_refused(error):
        return "a PostgreSQL database that lets this user in (mend its address, or give the password by PGPASSWORD)"
    if is_lost(error):
        return "a PostgreSQL database that can be reached (start it, or mend its address)"
    return None


def _meaning(name: str) -> str | None:
    if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
        return "a sound database file (restore it from a copy, or name another store with --store)"
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_IOERR")):
        return "a database file that can be opened and written (name another store with --store)"
    if name.startswith("SQLITE_FULL"):
        return "room on the disk"
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return f"a database that no other process blocks for {BUSY_SECONDS:.0f} s"
    return None


def _set_limits(connection: Any, _record: object) -> None:
    connection.autocommit = True  # what is set in a transaction goes with it
    for limit in (f"lock_timeout = '{BUSY_SECONDS:.0f}s'", "idle_in_transaction_session_timeout = '40s'"):
        connection.execute(f"SET {limit}")
    connection.autocommit = False


def _set_pragmas(connection: sqlite3.Connection, _record: object) -> None:
    cursor = connection.cursor()
    for pragma in (f"busy_timeout={BUSY_SECONDS * 1000:.0f}", "journal_mode=WAL", "synchronous=NORMAL"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _enforce_foreign_keys(connection: sqlite3.Connection, _record: object) -> None:
    connection.execute("PRAGMA foreign_keys=ON")


def _leave_transactions_to_us(connection: sqlite3.Connection, _record: object) -> None:
    # The driver would begin late and deferred; `_begin` says when and how instead.
    connection.isolation_level = None


def _begin(connection: Connection) -> None:
    immediate = connection.get_execution_options().get("immediate", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")
