"""Connections to the SQLite files, and what their errors mean to a caller."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, sessionmaker

from noise_search.errors import CallerError

BUSY_SECONDS = 30.0


def connect_engine(url: str, *, foreign_keys: bool = True) -> Engine:
    """Engine for one of our SQLite files; opens nothing yet.

    Migrations need `foreign_keys=False`: rebuilding a table drops it first, and its rows' dependants with it.
    """
    engine = create_engine(
        url,
        connect_args={"timeout": BUSY_SECONDS},
        json_serializer=partial(json.dumps, allow_nan=False, ensure_ascii=False),
    )
    add_pragmas(engine)
    if foreign_keys:
        event.listen(engine, "connect", _enforce_foreign_keys)
    event.listen(engine, "connect", _leave_transactions_to_us)
    event.listen(engine, "begin", _begin)
    return engine


def add_pragmas(engine: Engine) -> None:
    """Have every new connection write ahead, wait for other writers, and sync at checkpoints only."""
    event.listen(engine, "connect", _set_pragmas)


def readers(engine: Engine) -> sessionmaker[Session]:
    """Sessions that see one snapshot and block nobody."""
    return sessionmaker(engine, expire_on_commit=False)


def writers(engine: Engine) -> sessionmaker[Session]:
    """Sessions that take the write lock first, so that a second writer waits.

    A transaction that reads before it writes would fail at once if another wrote in between.
    """
    return sessionmaker(engine.execution_options(immediate=True), expire_on_commit=False)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what the system or SQLite says of an unusable file at `path` into a `CallerError`."""
    try:
        yield
    except OSError as error:
        raise CallerError(f"store: expected a file that can be read, got {path} ({error.strerror})") from error
    except DBAPIError as error:
        name = getattr(error.orig, "sqlite_errorname", "")
        if message := _meaning(name):
            raise CallerError(f"store: expected {message}, got {path} ({error.orig})") from error
        raise


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
