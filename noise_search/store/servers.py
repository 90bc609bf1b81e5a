"""What can be said of the PostgreSQL server of a store, without changing anything in it."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, text

from noise_search.store.engines import connect_engine, explained
from noise_search.store.locations import MLFLOW, OPTUNA, SEARCH, Location

OLDEST = 13  # major version of PostgreSQL that is still maintained by anybody
_SCHEMAS = (SEARCH, OPTUNA, MLFLOW)


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """A server as its user sees it.

    Args:
        version: Of PostgreSQL.
        user: Who we are there.
        encoding: Of the database.
        missing: Privileges that this user lacks for a sweep, or for `noise-search migrate` where schemas are missing.
    """

    version: str
    user: str
    encoding: str
    missing: tuple[str, ...]


def server_facts(location: Location) -> ServerFacts:
    """Look at the server of a store.

    Raises:
        CallerError: It cannot be reached.
    """
    engine = connect_engine(location.search_url)
    try:
        with explained(location), engine.connect() as connection:
            said = [connection.scalar(text(f"SHOW {name}")) for name in ("server_version", "server_encoding")]
            user = connection.scalar(text("SELECT current_user"))
            return ServerFacts(str(said[0]), str(user), str(said[1]), tuple(_missing(connection)))
    finally:
        engine.dispose()


def _missing(connection: Connection) -> list[str]:
    """As grants that would give them."""
    there = [name for name in _SCHEMAS if connection.scalar(text("SELECT to_regnamespace(:name)"), {"name": name})]
    lacking = []
    may_create = "SELECT has_database_privilege(current_database(), 'CREATE')"
    if len(there) < len(_SCHEMAS) and not connection.scalar(text(may_create)):
        lacking.append("CREATE ON DATABASE")
    for name in there:
        if not connection.scalar(text("SELECT has_schema_privilege(:name, 'USAGE')"), {"name": name}):
            lacking.append(f"USAGE ON SCHEMA {name}")
        elif not connection.scalar(text(_WRITES), {"name": name}):
            lacking.append(f"SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {name}")
        elif not connection.scalar(text(_COUNTS), {"name": name}):
            lacking.append(f"USAGE, SELECT ON ALL SEQUENCES IN SCHEMA {name}")
    return lacking


_COUNTS = """
    SELECT coalesce(bool_and(has_sequence_privilege(c.oid, 'USAGE')), true)
    FROM pg_class c WHERE c.relkind = 'S' AND c.relnamespace = to_regnamespace(:name)
"""
_WRITES = """
    SELECT coalesce(bool_and(has_table_privilege(c.oid, kind)), true)
    FROM pg_class c CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS kind
    WHERE c.relkind = 'r' AND c.relnamespace = to_regnamespace(:name)
"""
