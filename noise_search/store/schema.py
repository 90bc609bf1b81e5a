"""Making, checking and upgrading the databases of a store."""

from __future__ import annotations

import fcntl
import os
import shlex
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine, text
from sqlalchemy.schema import CreateSchema

from noise_search.errors import CallerError
from noise_search.store.engines import add_limits, add_pragmas, connect_engine, engine_options, explained
from noise_search.store.locations import MLFLOW, OPTUNA, SEARCH, Location
from noise_search.store.ownership import key_of, refuse_folder_of_another, take_folder
from noise_search.store.patience import Patience
from noise_search.store.tables import SCHEMA, VERSION_TABLE
from noise_search.store.versions import file_version, revision_of, shared_versions

if TYPE_CHECKING:
    from alembic.config import Config

    from noise_search.store.studies import StudyStorage

# Alembic keeps the migration in progress in module globals.
_ONE_MIGRATION = threading.Lock()
_LOCK = 0x6E6F697365  # "noise": key of the advisory lock, one a database


def create_schema(location: Location, *, more: Callable[[], None] = lambda: None) -> None:
    """Make the databases of a store, or bring them up to date; nothing changes if they are.

    One process at a time does this, however many start together: a file lock in the folder, or an advisory lock of
    PostgreSQL, sees to it. In a folder Optuna's database is made and never changed, as Optuna's own schema seldom is.

    Args:
        location: Of the store.
        more: Called last, under the lock.

    Raises:
        CallerError: The folder or a file in it cannot be written, or the server not reached; this user may not make
            schemas; it is no database, or was made by a newer version.
    """
    if location.is_shared:
        with explained(location), _schemas_locked(location):
            migrate(location)
            _upgrade_optuna(location)
            more()
        return
    with _locked(location.folder):
        for name in ("search.db", "optuna.db"):
            _refuse_read_only(location.folder / name)
        migrate(location)
        optuna_storage(location).engine.dispose()
        more()


def migrate(location: Location) -> None:
    """Bring our own database to the newest schema in one transaction; the caller holds the lock of the store."""
    from alembic import command

    engine = connect_engine(location.search_url, foreign_keys=False)
    try:
        with (
            explained(_place(location)),
            _ONE_MIGRATION,
            engine.execution_options(immediate=True).begin() as connection,
        ):
            if _is_newer(revision := revision_of(connection, VERSION_TABLE)):
                raise CallerError(_made_by_newer(location, revision))
            config = alembic_config()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    finally:
        engine.dispose()


def check_schema(location: Location, engine: Engine, *, claim: bool = False) -> None:
    """Refuse a store that is missing, of another version, or whose files are to lie among another's.

    Args:
        location: Of the store.
        engine: Of its own database.
        claim: Whether a folder that nobody's files are in becomes that of a store in PostgreSQL; else nothing changes.

    Raises:
        CallerError: Says which, and what to do.
    """
    if location.is_shared:
        _check_shared(location, engine)
        _check_folder(location, engine, claim=claim)
        return
    path = location.folder / "search.db"
    with explained(path):
        exists = path.is_file()
    if not exists:
        raise CallerError(
            f"store: expected a store, found none at {location}; "
            "name another with --store or NOISE_SEARCH_STORE, or start a sweep there"
        )
    with explained(path), engine.connect() as connection:
        revision = revision_of(connection, VERSION_TABLE)
    if _is_newer(revision):
        raise CallerError(_made_by_newer(location, revision))
    if revision != SCHEMA or not (location.folder / "optuna.db").is_file():
        raise CallerError(
            f"store: expected schema {SCHEMA} at {location}, got {revision or 'an unfinished store'}; "
            "it is brought up to date when a sweep is started or continued there"
        )


def _check_shared(location: Location, engine: Engine) -> None:
    with explained(location), engine.connect() as connection:
        found = shared_versions(connection)
    if _is_newer(found[SEARCH]):
        raise CallerError(_made_by_newer(location, found[SEARCH]))
    missing = [name for name, revision in found.items() if revision is None]
    if len(missing) == len(found):
        raise CallerError(
            f"store: expected a store, found none at {location}; make it with: {migrate_command(location)}"
        )
    if missing:
        raise CallerError(
            f"store: expected schemas {list(found)} at {location}, got an unfinished store without {missing}; "
            f"finish it with: {migrate_command(location)}"
        )
    if found[SEARCH] != SCHEMA:
        raise CallerError(
            f"store: expected schema {SCHEMA} at {location}, got {found[SEARCH]}; "
            f"bring it up to date with: {migrate_command(location)}"
        )


def _check_folder(location: Location, engine: Engine, *, claim: bool) -> None:
    with explained(location), engine.connect() as connection:
        key = key_of(connection)
    if not claim:
        refuse_folder_of_another(location, key)
        return
    take_folder(location, key)


def migrate_command(location: Location) -> str:
    """What makes a store in PostgreSQL, or brings it up to date."""
    return f"noise-search migrate --store {shlex.quote(str(location))}"


def is_current(location: Location, *, patient: bool = False) -> bool:
    """Whether a whole store of this version's schema lies there; changes nothing.

    Args:
        location: Of the store.
        patient: Whether a server that is lost is waited for, as in the middle of work.

    Raises:
        CallerError: What lies there cannot be read as a database, or it is a store in PostgreSQL that is not current,
            which no sweep brings up to date.
        StoreLostError: Its server was waited for in vain.
    """
    if location.is_shared:
        engine = connect_engine(location.search_url)
        try:
            Patience(location.retry_seconds if patient else 0).call(lambda: _check_shared(location, engine))
        finally:
            engine.dispose()
        return True
    return file_version(location, SEARCH) == SCHEMA and (location.folder / "optuna.db").is_file()


def alembic_config() -> Config:
    """Alembic's settings, without a file: the migrations lie in the package."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def optuna_storage(location: Location) -> StudyStorage:
    """Optuna's own storage, with its tables; in a file they are made where there are none.

    Raises:
        CallerError: The database cannot be used, or its schema belongs to another version of Optuna.
    """
    if location.is_shared:
        return _shared_storage(location)
    path = location.folder / "optuna.db"
    _write_ahead(location.optuna_url, path)
    from noise_search.store.studies import StudyStorage

    try:
        with explained(path):
            storage = StudyStorage(location.optuna_url, engine_kwargs=engine_options(location.optuna_url))
    except RuntimeError as error:
        raise CallerError(f"store: expected a schema this Optuna knows, got {path}: {error}") from error
    add_pragmas(storage.engine)
    # Connections the constructor has opened lack the pragmas.
    storage.engine.dispose()
    return storage


def _shared_storage(location: Location) -> StudyStorage:
    from noise_search.store.studies import StudyStorage

    url = location.optuna_url
    options: dict[str, Any] = {"skip_table_creation": True, "skip_compatibility_check": True}
    with explained(location):
        storage = StudyStorage(url, engine_kwargs=engine_options(url), **options)
        known, found = storage.get_head_version(), storage.get_current_version()
    if found != known:
        storage.engine.dispose()
        raise CallerError(
            f"store: expected the schema of this Optuna, {known}, at {location}, got {found}; "
            f"bring an older one up to date with: {migrate_command(location)}"
        )
    add_limits(storage.engine)
    storage.engine.dispose()  # connections that the constructor has opened lack them
    return storage


def _upgrade_optuna(location: Location) -> None:
    """Make Optuna's tables, or bring them up to date by its own migrations; the caller holds the lock of the store."""
    from alembic.util import CommandError
    from optuna.storages import RDBStorage

    url = location.optuna_url
    with _ONE_MIGRATION:
        storage = RDBStorage(url, engine_kwargs=engine_options(url), skip_compatibility_check=True)
        try:
            # Its migrations set up logging for the whole process: not for nothing.
            if storage.get_current_version() != storage.get_head_version():
                storage.upgrade()
        except CommandError as error:
            raise CallerError(
                f"store: expected a schema this Optuna knows, got one of a newer Optuna at {location} ({error}); "
                "upgrade Optuna, or name another store with --store"
            ) from error
        finally:
            storage.remove_session()
            storage.engine.dispose()


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
        f"store: expected schema {SCHEMA} or older at {location}, but the store was made by a newer "
        f"noise-search (schema {revision}); upgrade noise-search, or name another store with --store"
    )


def _place(location: Location) -> Path | Location:
    return location if location.is_shared else location.folder / "search.db"


@contextmanager
def _schemas_locked(location: Location) -> Iterator[None]:
    """Make the schemas, and keep other processes from doing what is done here, for as long as the block lasts."""
    engine = connect_engine(location.search_url, foreign_keys=False)
    try:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _LOCK})  # until the connection ends
            for schema in (SEARCH, OPTUNA, MLFLOW):
                if connection.scalar(text("SELECT to_regnamespace(:name)"), {"name": schema}) is None:
                    connection.execute(CreateSchema(schema))
            yield
    finally:
        engine.dispose()


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
