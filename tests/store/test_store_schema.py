from __future__ import annotations

import multiprocessing
import threading
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text
from store_examples import new_sweep, process, rows, sealed

from noise_search.errors import CallerError
from noise_search.store import create_schema, locate, open_store
from noise_search.store.schema import alembic_config
from noise_search.store.tables import SCHEMA, VERSION_TABLE, Base


def create_with_others(folder: Path, ready: threading.Barrier) -> None:
    ready.wait()
    create_schema(locate(folder))


def use_study_of_another_process(folder: Path) -> None:
    import optuna

    with open_store(locate(folder), create=False) as store:
        study = optuna.load_study(study_name="digits", storage=store.optuna_storage())
        study.tell(study.ask(), 0.5)


def test_a_store_is_one_folder_with_both_databases(tmp_path: Path) -> None:
    create_schema(locate(tmp_path / "deep" / "runs"))
    assert {path.suffix for path in (tmp_path / "deep" / "runs").iterdir()} >= {".db"}
    assert (tmp_path / "deep" / "runs" / "search.db").is_file()
    assert (tmp_path / "deep" / "runs" / "optuna.db").is_file()


def test_a_folder_with_spaces_and_umlauts_works(tmp_path: Path) -> None:
    with open_store(locate(tmp_path / "Käse & Brot @home"), create=True) as store:
        assert store.sweeps() == []
        store.optuna_storage()
    assert [path.name for path in tmp_path.iterdir()] == ["Käse & Brot @home"]


def test_creating_twice_keeps_what_is_there(tmp_path: Path) -> None:
    with open_store(locate(tmp_path), create=True) as store:
        new_sweep(store, "kept")
    with open_store(locate(tmp_path), create=True) as store:
        assert [sweep.name for sweep in store.sweeps()] == ["kept"]


def test_four_processes_that_create_one_store_at_once_leave_it_sound(tmp_path: Path) -> None:
    ready = multiprocessing.get_context("spawn").Barrier(4)
    started = [process(create_with_others, tmp_path, ready) for _ in range(4)]
    for one in started:
        one.join(60)
    assert [one.exitcode for one in started] == [0, 0, 0, 0]
    for name in ("search.db", "optuna.db"):
        assert rows(tmp_path / name, "PRAGMA integrity_check") == [("ok",)]
    assert rows(tmp_path / "search.db", f"SELECT version_num FROM {VERSION_TABLE}") == [(SCHEMA,)]
    assert len(rows(tmp_path / "optuna.db", "SELECT * FROM version_info")) == 1
    with open_store(locate(tmp_path), create=False) as store:
        assert new_sweep(store).id == 1


def test_the_newest_migration_gives_the_tables_of_the_models(tmp_path: Path) -> None:
    create_schema(locate(tmp_path))
    engine = create_engine(locate(tmp_path).search_url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        assert compare_metadata(context, Base.metadata) == []
    engine.dispose()


def test_the_newest_migration_gives_the_constraints_of_the_models(tmp_path: Path) -> None:
    # compare_metadata does not look at CHECK constraints.
    create_schema(locate(tmp_path))
    engine = create_engine(f"sqlite:///{tmp_path / 'models.db'}")
    Base.metadata.create_all(engine)
    engine.dispose()
    assert statements(tmp_path / "search.db") == statements(tmp_path / "models.db")


def statements(path: Path) -> set[tuple[str, frozenset[str]]]:
    wanted = f"SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE '{VERSION_TABLE}%'"
    return {
        (name, frozenset(line.strip(" \t,") for line in sql.replace('"', "").splitlines()))
        for name, sql in rows(path, wanted)
    }


def test_the_schema_readers_expect_is_the_newest_migration() -> None:
    assert ScriptDirectory.from_config(alembic_config()).get_heads() == [SCHEMA]


def test_a_store_that_is_not_there_is_named_with_the_ways_to_name_another(tmp_path: Path) -> None:
    with pytest.raises(CallerError, match=rf"none at {tmp_path}/runs; .*--store or NOISE_SEARCH_STORE"):
        open_store(locate(tmp_path / "runs"), create=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("create", [True, False])
def test_a_newer_store_is_refused_and_left_alone(tmp_path: Path, create: bool) -> None:
    create_schema(locate(tmp_path))
    rows(tmp_path / "search.db", f"UPDATE {VERSION_TABLE} SET version_num = '0999'")
    with pytest.raises(CallerError, match=r"made by a newer noise-search \(schema 0999\); upgrade"):
        open_store(locate(tmp_path), create=create)
    assert rows(tmp_path / "search.db", f"SELECT version_num FROM {VERSION_TABLE}") == [("0999",)]


def test_an_older_store_is_brought_up_to_date_only_when_asked(tmp_path: Path) -> None:
    (tmp_path / "search.db").touch()
    with pytest.raises(CallerError, match=f"expected schema {SCHEMA} .* got an unfinished store; it is brought"):
        open_store(locate(tmp_path), create=False)
    with open_store(locate(tmp_path), create=True) as store:
        assert store.sweeps() == []


@pytest.mark.parametrize("create", [True, False])
def test_a_file_that_is_no_database_is_named(tmp_path: Path, create: bool) -> None:
    (tmp_path / "search.db").write_text("This is a text and no database. " * 100)
    with pytest.raises(CallerError, match=rf"expected a sound database .*{tmp_path}/search.db .*not a database"):
        open_store(locate(tmp_path), create=create)


def test_an_optuna_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "optuna.db").write_text("This is a text and no database. " * 100)
    with pytest.raises(CallerError, match=rf"{tmp_path}/optuna.db .*not a database"):
        create_schema(locate(tmp_path))


def test_a_study_database_of_another_optuna_is_named_with_what_to_do(tmp_path: Path) -> None:
    create_schema(locate(tmp_path))
    rows(tmp_path / "optuna.db", "UPDATE alembic_version SET version_num = 'v99.0.0.a'")
    with pytest.raises(CallerError, match=rf"{tmp_path}/optuna.db: .*updating optuna"):
        create_schema(locate(tmp_path))


def test_a_folder_inside_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CallerError, match=r"folder that can be written, got .*file/runs \(Not a directory\)"):
        create_schema(locate(tmp_path / "file" / "runs"))


def test_a_new_store_in_a_read_only_folder_is_refused(tmp_path: Path) -> None:
    with (
        sealed(tmp_path),
        pytest.raises(CallerError, match=rf"folder that can be written, got {tmp_path} \("),
    ):
        create_schema(locate(tmp_path))


@pytest.mark.parametrize("create", [True, False])
def test_a_store_in_a_folder_that_became_read_only_is_refused(tmp_path: Path, create: bool) -> None:
    create_schema(locate(tmp_path))
    with sealed(tmp_path), pytest.raises(CallerError, match=r"can be .*written.*search.db"):
        open_store(locate(tmp_path), create=create)


def test_a_database_file_that_is_read_only_is_refused(tmp_path: Path) -> None:
    create_schema(locate(tmp_path))
    with (
        sealed(tmp_path / "search.db"),
        pytest.raises(CallerError, match=r"can be .*written.*search.db"),
    ):
        create_schema(locate(tmp_path))


@pytest.mark.parametrize("database", ["ours", "optuna"])
def test_every_connection_writes_ahead_and_waits(tmp_path: Path, database: str) -> None:
    with open_store(locate(tmp_path), create=True) as store:
        engine = store.optuna_storage().engine if database == "optuna" else store._engine
        with engine.connect() as connection:
            settings = [
                connection.scalar(text(f"PRAGMA {name}")) for name in ("journal_mode", "synchronous", "busy_timeout")
            ]
    assert settings == ["wal", 1, 30000]


def test_rows_cannot_refer_to_what_is_not_there(tmp_path: Path) -> None:
    with open_store(locate(tmp_path), create=True) as store, store._engine.connect() as connection:
        assert connection.scalar(text("PRAGMA foreign_keys")) == 1


def test_two_processes_can_use_one_study_at_once(tmp_path: Path) -> None:
    import optuna

    with open_store(locate(tmp_path), create=True) as store:
        study = optuna.create_study(study_name="digits", storage=store.optuna_storage())
        study.tell(study.ask(), 1.0)
        other = process(use_study_of_another_process, tmp_path)
        other.join(60)
        assert other.exitcode == 0
        assert [trial.value for trial in study.trials] == [1.0, 0.5]
