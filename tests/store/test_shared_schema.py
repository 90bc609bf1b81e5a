"""The schemas of a store in PostgreSQL: made by migrate alone, once, and checked by everybody else."""

from __future__ import annotations

import multiprocessing
import threading
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from postgres_servers import Server
from sqlalchemy import create_engine
from store_examples import new_sweep, process, rows, stored

from noise_search.commands import migrate
from noise_search.errors import CallerError
from noise_search.store import Location, create_schema, is_current, locate, open_store, schema_versions
from noise_search.store.engines import connect_engine
from noise_search.store.schema import alembic_config
from noise_search.store.tables import SCHEMA, VERSION_TABLE, Base

CONSTRAINTS = """
    SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid)
    FROM pg_constraint WHERE connamespace = 'noise_search'::regnamespace AND conname <> 'noise_search_version_pkc'
"""


@pytest.fixture
def empty(postgres: Server, tmp_path: Path) -> Location:
    """A database without schemas."""
    return locate(postgres.url(postgres.new_database()), folder=str(tmp_path))


def migrate_with_others(url: str, ready: threading.Barrier) -> None:
    ready.wait()
    migrate(store=url)


@pytest.mark.slow
def test_four_processes_that_migrate_one_database_at_once_leave_it_sound(empty: Location) -> None:
    ready = multiprocessing.get_context("spawn").Barrier(4)
    started = [process(migrate_with_others, empty.server, ready) for _ in range(4)]
    for one in started:
        one.join(300)
    assert [one.exitcode for one in started] == [0, 0, 0, 0]
    assert schema_versions(empty)["noise_search"] == SCHEMA
    assert rows(empty, "SELECT count(*) FROM optuna.version_info") == [(1,)]
    assert rows(empty, "SELECT count(*) FROM optuna.alembic_version") == [(1,)]
    assert rows(empty, "SELECT count(*) FROM mlflow.experiments") == [(1,)]
    with stored(empty) as store:
        new_sweep(store)
        assert store.optuna_storage().get_all_studies() == []


def test_nothing_but_migrate_makes_a_schema(empty: Location) -> None:
    with pytest.raises(CallerError, match=r"found none at .*; make it with: noise-search migrate --store "):
        open_store(empty, create=True)
    assert rows(empty, "SELECT count(*) FROM information_schema.schemata WHERE schema_name = 'noise_search'") == [(0,)]


def test_a_store_that_is_half_made_is_finished_by_migrate(shared: Location) -> None:
    rows(shared, "DROP SCHEMA mlflow CASCADE")
    with pytest.raises(
        CallerError, match=r"unfinished store without \['mlflow'\]; finish it with: noise-search migrate"
    ):
        is_current(shared)


@pytest.mark.parametrize("create", [True, False])
def test_a_newer_schema_is_refused(shared: Location, create: bool) -> None:
    rows(shared, f"UPDATE {VERSION_TABLE} SET version_num = '0999'")
    with pytest.raises(CallerError, match=r"made by a newer noise-search \(schema 0999\); upgrade noise-search"):
        open_store(shared, create=create)
    with pytest.raises(CallerError, match="made by a newer"):
        create_schema(shared)


def test_an_older_schema_is_refused_with_what_to_run(shared: Location) -> None:
    rows(shared, f"UPDATE {VERSION_TABLE} SET version_num = '0005'")
    message = rf"expected schema {SCHEMA} at .*, got 0005; bring it up to date with: noise-search migrate --store "
    with pytest.raises(CallerError, match=message) as caught:
        open_store(shared, create=False)
    assert "p%40ss" not in str(caught.value)


def test_a_schema_of_another_optuna_is_named_with_what_to_do(shared: Location) -> None:
    rows(shared, "UPDATE optuna.alembic_version SET version_num = 'v2.6.0.a'")
    with (
        stored(shared) as store,
        pytest.raises(CallerError, match=r"of this Optuna, .* got v2.6.0.a; .*noise-search migrate --store "),
    ):
        store.optuna_storage()
    rows(shared, "UPDATE optuna.alembic_version SET version_num = 'v99.0.0.a'")
    with pytest.raises(CallerError, match="one of a newer Optuna"):
        create_schema(shared)


def test_a_schema_of_another_mlflow_is_named_with_what_to_do(shared: Location) -> None:
    from noise_search.tracking.mlflow_sink import create_schema as check

    rows(shared, "UPDATE mlflow.alembic_version SET version_num = '451aebb31d03'")
    with pytest.raises(CallerError, match=r"MLflow: expected a schema this MLflow knows .*noise-search migrate"):
        check(shared.tracking_url)


def upgrade(place: Location, revision: str) -> None:
    engine = connect_engine(place.search_url)
    with engine.begin() as connection:
        config = alembic_config()
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    engine.dispose()


def test_every_migration_from_the_first_gives_the_tables_of_the_models(empty: Location, postgres: Server) -> None:
    rows(empty, "CREATE SCHEMA noise_search")
    upgrade(empty, "0001")
    rows(
        empty,
        "INSERT INTO sweeps (id, name, digest, identity, config, state, budget_trials, created_at, seconds, "
        "lease_generation) VALUES (3, 'old', 'abc', '{}', '{}', 'complete', 1, now(), 1.5, 0);"
        "INSERT INTO jobs (sweep_id, from_epoch, to_epoch, state, started_at, epochs_trained, samples_scored) "
        "VALUES (3, 0, 9, 'done', now(), 9, 5)",
    )
    create_schema(empty)
    assert rows(empty, "SELECT name, seconds, stop_requested FROM sweeps") == [("old", 1.5, False)]
    assert rows(empty, "SELECT state, error FROM jobs") == [("done", None)]
    engine = create_engine(empty.search_url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        assert compare_metadata(context, Base.metadata) == []
    engine.dispose()
    assert set(rows(empty, CONSTRAINTS)) == set(rows(of_models(postgres), CONSTRAINTS))


def of_models(postgres: Server) -> Location:
    """A database with the tables of the models."""
    made = locate(postgres.url(postgres.new_database()))
    rows(made, "CREATE SCHEMA noise_search")
    engine = create_engine(made.search_url)
    Base.metadata.create_all(engine)
    engine.dispose()
    return made
