"""Stores of earlier versions, with a row in every table, brought up to date."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from sqlalchemy import Connection, inspect
from store_examples import rows

from noise_search.store import create_schema, locate, open_store
from noise_search.store.engines import connect_engine
from noise_search.store.schema import alembic_config
from noise_search.store.tables import SCHEMA, VERSION_TABLE

WHEN = "2026-01-02 03:04:05.000006"
# Every column of version 0001.
FIRST: dict[str, dict[str, Any]] = {
    "sweeps": {
        "id": 3,
        "name": "old",
        "digest": "abc",
        "identity": '{"seed": 0}',
        "config": '{"name": "old"}',
        "state": "interrupted",
        "train_mode": "fused",
        "score_mode": "looped",
        "bitwise": 1,
        "budget_trials": 10,
        "created_at": WHEN,
        "finished_at": None,
        "seconds": 12.5,
        "lease_owner": None,
        "lease_generation": 4,
        "lease_expires_at": None,
    },
    "members": {
        "id": 5,
        "sweep_id": 3,
        "number": 0,
        "control": None,
        "parameters": '{"inputs.noise": "none"}',
        "policy": "[]",
        "state": "complete",
        "reason": None,
        "told": 1,
        "started_at": WHEN,
        "finished_at": WHEN,
    },
    "results": {
        "id": 7,
        "member_id": 5,
        "epoch": 9,
        "seed": 2**62,
        "scores": '{"clean": 0.5, "robust": {"$float": "nan"}}',
        "cells": '{"blur": [0.5]}',
        "history": '[{"epoch": 9}]',
        "seconds": 2.0,
        "created_at": WHEN,
    },
    "jobs": {
        "id": 11,
        "sweep_id": 3,
        "from_epoch": 0,
        "to_epoch": 9,
        "state": "done",
        "started_at": WHEN,
        "finished_at": WHEN,
        "epochs_trained": 9,
        "samples_scored": 2**40,
    },
    "job_members": {"job_id": 11, "slot": 0, "member_id": 5},
    "outbox": {
        "id": 13,
        "sweep_id": 3,
        "position": 1,
        "key": "trial 0",
        "kind": "member",
        "payload": '{"a": 1}',
        "sent_at": None,
    },
}


def _store_of(folder: Path, revision: str) -> None:
    """An older version's `search.db`, with those rows."""
    with _brought_to(folder, "0001") as connection:
        columns = {table: {one["name"] for one in inspect(connection).get_columns(table)} for table in FIRST}
        tables = set(inspect(connection).get_table_names()) - {VERSION_TABLE, "sqlite_sequence"}
    assert tables == FIRST.keys()
    assert columns == {table: set(row) for table, row in FIRST.items()}
    for table, row in FIRST.items():
        _insert(folder, table, **row)
    with _brought_to(folder, revision):
        pass


@contextmanager
def _brought_to(folder: Path, revision: str) -> Iterator[Connection]:
    """`search.db`, made or upgraded, with a revision's schema."""
    engine = connect_engine(locate(folder).search_url, foreign_keys=False)
    with engine.execution_options(immediate=True).begin() as connection:
        config = alembic_config()
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        yield connection
    engine.dispose()


def _insert(folder: Path, table: str, **row: Any) -> None:
    with closing(sqlite3.connect(folder / "search.db")) as database, database:
        marks = ", ".join("?" * len(row))
        database.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", list(row.values()))


def test_every_row_of_the_first_version_is_there_after_an_upgrade(tmp_path: Path) -> None:
    _store_of(tmp_path, "0001")
    create_schema(locate(tmp_path))
    assert rows(tmp_path / "search.db", f"SELECT version_num FROM {VERSION_TABLE}") == [(SCHEMA,)]
    for table, row in FIRST.items():
        assert rows(tmp_path / "search.db", f"SELECT {', '.join(row)} FROM {table}") == [tuple(row.values())]
    assert rows(tmp_path / "search.db", "PRAGMA foreign_key_check") == []
    assert rows(tmp_path / "search.db", "PRAGMA integrity_check") == [("ok",)]


def test_a_store_of_the_first_version_reads_as_one_without_what_came_later(tmp_path: Path) -> None:
    _store_of(tmp_path, "0001")
    with open_store(locate(tmp_path), create=True) as store:
        sweep = store.sweep("old")
        (member,) = store.members(sweep.id)
        (result,) = store.results(sweep.id)
        (job,) = store.jobs(sweep.id)
        (entry,) = store.unsent(sweep.id)
    assert (sweep.id, sweep.seconds, sweep.stop_requested) == (3, 12.5, False)
    assert (member.number, member.told, member.target_epoch, member.attempts) == (0, True, 0, {})
    assert (member.overuse, member.constraints) == (None, {})
    assert (result.seed, result.shared, result.checkpoint, result.correct) == (2**62, False, None, {})
    assert json.dumps(result.scores) == '{"clean": 0.5, "robust": NaN}'
    assert (job.members, job.seeds, job.error) == ((5,), (0,), None)
    assert (entry.key, entry.payload) == ("trial 0", {"a": 1})


def test_the_number_of_a_sweep_that_was_removed_is_not_given_out_again_after_an_upgrade(tmp_path: Path) -> None:
    _store_of(tmp_path, "0001")
    with open_store(locate(tmp_path), create=True) as store:
        with store.take_lease(3) as writer:
            writer.remove_sweep()
        made = store.create_sweep(name="new", digest="d", identity={}, config={}, budget_trials=1)
    assert made.id == 4


def test_a_confirmation_that_kept_the_total_of_its_sweep_keeps_the_trials_that_were_complete_when_it_began(
    tmp_path: Path,
) -> None:
    _store_of(tmp_path, "0005")
    others = [("complete", 6, None), ("complete", 3, None), ("stopped", 3, None), ("complete", 3, "no_noise")]
    for number, (state, second, control) in enumerate(others, start=1):
        changed = {"id": 5 + number, "number": None if control else number, "control": control, "state": state}
        _insert(tmp_path, "members", **FIRST["members"] | changed | {"finished_at": _at(second)})
    for number, second in ((1, 1), (2, 5), (3, 9)):  # the first before any trial of these ended
        row = {"id": number, "sweep_id": 3, "number": number, "created_at": _at(second), "seconds": 1.5}
        _insert(tmp_path, "confirmations", **row, settings='{"rule": "best", "trials": 10}')
    with open_store(locate(tmp_path), create=True) as store:
        found = [one.settings for one in store.confirmations(3)]
    assert found == [{"rule": "best", "trials": trials} for trials in (0, 2, 3)]


def _at(second: int) -> str:
    return f"2026-01-02 03:04:{second:02}.000006"


def test_every_store_gets_a_key_of_its_own(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        _store_of(tmp_path / name, "0007")
        create_schema(locate(tmp_path / name))
    (one,), (other,) = (rows(tmp_path / name / "search.db", "SELECT key FROM stores") for name in ("a", "b"))
    assert one != other
