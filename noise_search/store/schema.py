"""Making, checking and upgrading the databases of a store."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, inspect, text

from noise_search.errors import CallerError
from noise_search.store.engines import BUSY_SECONDS, add_pragmas, connect_engine, explained
from noise_search.store.locations import Location
from noise_search.store.tables import SCHEMA, VERSION_TABLE

if TYPE_CHECKING:
    from alembic.config import Config
    from optuna.storages import RDBStorage

# Alembic keeps the migration in progress in module globals.
_ONE_MIGRATION = threading.Lock()


def create_schema(location: Location) -> None:
    """Make the folder, our database and Optuna's, or bring ours up to date; nothing changes if they are.

    One process at a time does this, however many start together: a file lock in the folder sees to it.

    Raises:
        CallerError: The folder or a file in it cannot be written, is no database, or was made by a newer
            version.
    """
    with _locked(location.folder):
        for name in ("search.db", "optuna.db"):
            _refuse_read_only(location.folder / name)
        migrate(location)
        optuna_storage(location).engine.dispose()


def migrate(location: Location) -> None:
    """Bring `search.db` to the newest schema in one transaction; the caller holds the lock on the folder."""
    from alembic import command

    engine = connect_engine(location.search_url, foreign_keys=False)
    try:
        with (
            explained(location.folder / "search.db"),
            _ONE_MIGRATION,
            engine.execution_options(immediate=True).begin() as connection,
        ):
            if _is_newer(revision := current_revision(connection)):
                raise CallerError(_made_by_newer(location, revision))
            config = alembic_config()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    finally:
        engine.dispose()


def check_schema(location: Location, engine: Engine) -> None:
    """Refuse a store that is missing, or of another version; changes nothing.

    Raises:
        CallerError: Says which, and what to do.
    """
    path = location.folder / "search.db"
    with explained(path):
        exists = path.is_file()
    if not exists:
        raise CallerError(
            f"store: expected a store, found none at {location.folder}; "
            "name another with --store or NOISE_SEARCH_STORE, or start a sweep there"
        )
    with explained(path), engine.connect() as connection:
        revision = current_revision(connection)
    if _is_newer(revision):
        raise CallerError(_made_by_newer(location, revision))
    if revision != SCHEMA or not (location.folder / "optuna.db").is_file():
        raise CallerError(
            f"store: expected schema {SCHEMA} at {location.folder}, got {revision or 'an unfinished store'}; "
            "it is brought up to date when a sweep is started or continued there"
        )


def is_current(location: Location) -> bool:
    """Whether a whole store of this version's schema lies there; changes nothing.

    Raises:
        CallerError: What lies there cannot be read as a database.
    """
    path = location.folder / "search.db"
    with explained(path):
        if not path.is_file() or not (location.folder / "optuna.db").is_file():
            return False
        engine = connect_engine(location.search_url)
        try:
            with engine.connect() as connection:
                return current_revision(connection) == SCHEMA
        finally:
            engine.dispose()


def current_revision(connection: Connection) -> str | None:
    """Schema of `search.db`; None if it has none yet."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    revision: str | None = connection.scalar(text(f"SELECT version_num FROM {VERSION_TABLE}"))  # noqa: S608
    return revision


def alembic_config() -> Config:
    """Alembic's settings, without a file: the migrations lie in the package."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def optuna_storage(location: Location) -> RDBStorage:
    """Optuna's own storage on `optuna.db`, with its tables.

    Raises:
        CallerError: The file cannot be used, or its schema belongs to another version of Optuna.
    """
    path = location.folder / "optuna.db"
    _write_ahead(location.optuna_url, path)
    from noise_search.store.studies import StudyStorage

    try:
        with explained(path):
            storage = StudyStorage(location.optuna_url, engine_kwargs={"connect_args": {"timeout": BUSY_SECONDS}})
    except RuntimeError as error:
        raise CallerError(f"store: expected a schema this Optuna knows, got {path}: {error}") from error
    add_pragmas(storage.engine)
    # Connections the constructor has opened lack the pragmas.
    storage.engine.dispose()
    return storage


def _write_ahead(url: str, path: Path) -> None:
    engine = connect_engine(url)
    try:
        with explained(path), engine.connect():
            pass
    finally:
        engine.dispose()


def _refuse_read_only(path: Path) -> None:
    # SQLite opens such a file without complaint, and even begins a write transaction.
    if path.exists() and not os.access(path, os.W_OK):
        raise CallerError(f"store: expected a database file that can be written, got {path}")


def _is_newer(revision: str | None) -> bool:
    if revision in (None, SCHEMA):
        return False
    from alembic.script import ScriptDirectory

    known = ScriptDirectory.from_config(alembic_config()).walk_revisions()
    return revision not in {script.revision for script in known}


def _made_by_newer(location: Location, revision: str | None) -> str:
    return (
        f"store: expected schema {SCHEMA} or older at {location.folder}, but the store was made by a newer "
        f"noise-search (schema {revision}); upgrade noise-search, or name another store with --store"
    )


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("a")
    except OSError as error:
        raise CallerError(
            f"store: expected a folder that can be written, got {folder} ({error.strerror}); "
            "name another with --store or NOISE_SEARCH_STORE"
        ) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
