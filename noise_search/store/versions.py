"""Which schema each of a store's three databases has, read without making or changing any."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, inspect, text

from noise_search.store.engines import connect_engine, explained
from noise_search.store.locations import MLFLOW, OPTUNA, SEARCH, Location
from noise_search.store.tables import VERSION_TABLE

_TABLES = {SEARCH: VERSION_TABLE, OPTUNA: "alembic_version", MLFLOW: "alembic_version"}


def schema_versions(location: Location) -> dict[str, str | None]:
    """Revision of each database, by name; None where there is none yet, or none that is finished.

    Raises:
        CallerError: One cannot be read.
    """
    if not location.is_shared:
        return {name: _of_file(path, _TABLES[name]) for name, path in _files(location).items()}
    engine = connect_engine(location.search_url)
    try:
        with explained(location), engine.connect() as connection:
            return shared_versions(connection)
    finally:
        engine.dispose()


def shared_versions(connection: Connection) -> dict[str, str | None]:
    """`schema_versions` of the PostgreSQL database that a connection is to."""
    return {schema: _of_schema(connection, schema, table) for schema, table in _TABLES.items()}


def revision_of(connection: Connection, table: str) -> str | None:
    """What Alembic's table of that name says; None where there is no such table, or nothing in it."""
    if not inspect(connection).has_table(table):
        return None
    revision: str | None = connection.scalar(text(f"SELECT version_num FROM {table}"))  # noqa: S608
    return revision


def _files(location: Location) -> dict[str, Path]:
    folder = location.folder
    return {SEARCH: folder / "search.db", OPTUNA: folder / "optuna.db", MLFLOW: location.tracking_path}


def _of_file(path: Path, table: str) -> str | None:
    with explained(path):
        if not path.is_file():
            return None
        engine = connect_engine(f"sqlite:///{path}")
        try:
            with engine.connect() as connection:
                return revision_of(connection, table)
        finally:
            engine.dispose()


def _of_schema(connection: Connection, schema: str, table: str) -> str | None:
    place = f"{schema}.{table}"
    if connection.scalar(text("SELECT to_regclass(:place)"), {"place": place}) is None:
        return None
    revision: str | None = connection.scalar(text(f"SELECT version_num FROM {place}"))  # noqa: S608
    return revision
