"""Stores in a folder and in a real PostgreSQL database, for tests that hold for both."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from postgres_servers import Server, postgres_server

from noise_search.commands import migrate
from noise_search.store import Location, create_schema, locate


def migrated_database(server: Server) -> str:
    """Make a database with all three schemas; making one takes seconds, copying it does not."""
    name = server.new_database()
    migrate(store=server.url(name))
    # MLflow keeps its connections for the process, and a database that somebody is connected to cannot be copied.
    server.ask(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
    return name


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A server; tests make databases of their own in it."""
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="session")
def migrated(postgres: Server) -> str:
    """Name of a database with all three schemas, without a sweep."""
    return migrated_database(postgres)


@pytest.fixture
def shared(postgres: Server, migrated: str, tmp_path: Path) -> Iterator[Location]:
    """An empty store in PostgreSQL."""
    name = postgres.new_database(migrated)
    yield locate(postgres.url(name), folder=str(tmp_path / "files"), retry_seconds=60)
    postgres.ask(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def folder_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    create_schema(locate(folder))
    return folder


@pytest.fixture(params=["folder", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    """An empty store: in a folder, and again in PostgreSQL."""
    if request.param == "postgresql":
        found: Location = request.getfixturevalue("shared")
        return found
    template: Path = request.getfixturevalue("folder_template")
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    return locate(tmp_path)
