"""Small stores for the tests of this folder."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import psycopg
from requirements import needs
from sqlalchemy import make_url

from noise_search.store import (
    Location,
    NewMember,
    NewResult,
    Store,
    SweepRecord,
    Writer,
    create_schema,
    locate,
    open_store,
)

NO_NOISE = NewMember(None, "no_noise", {}, [])


def trial(number: int) -> NewMember:
    """A trial with one searched parameter and one term."""
    return NewMember(number, None, {"inputs.noise.magnitude": 0.25}, [{"site": "inputs", "magnitude": 0.25}])


def result(member_id: int, epoch: int = 3, state: str = "complete", **scores: float) -> NewResult:
    """A result with the given scores, otherwise the same for all."""
    return NewResult(
        member_id,
        epoch,
        0,
        state,
        None,
        scores or {"clean": 0.5},
        {"blur": [0.5, 0.25]},
        [{"loss": 1.0}],
        2.0,
    )


def new_sweep(store: Store, name: str = "digits") -> SweepRecord:
    """A sweep of ten trials."""
    return store.create_sweep(name=name, digest="abc", identity={"seed": 0}, config={"name": name}, budget_trials=10)


def stored(place: Path | Location) -> Store:
    """A new store; in a folder it is copied from one that is made once."""
    if isinstance(place, Path):
        shutil.copytree(_template(), place, dirs_exist_ok=True)
    return open_store(locate(place), create=False)


@cache
def _template() -> Path:
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder)
    create_schema(locate(folder))
    return folder


@contextmanager
def driven(place: Path | Location) -> Iterator[tuple[Store, Writer]]:
    """A new store with one sweep, and the lease on it."""
    with stored(place) as store, store.take_lease(new_sweep(store).id) as writer:
        yield store, writer


def rows(place: Path | Location, sql: str) -> list[Any]:
    """What another client of the database gets for a statement, committed: of a SQLite file, or our own of a store."""
    if isinstance(place, Location) and place.is_shared:
        return _answer(place, sql)
    connection = sqlite3.connect(place if isinstance(place, Path) else place.folder / "search.db")
    try:
        with connection:
            return connection.execute(sql).fetchall()
    finally:
        connection.close()


def _answer(location: Location, sql: str) -> list[Any]:
    url = make_url(location.search_url)
    where = {"host": url.host, "port": url.port, "user": url.username, "password": url.password, "dbname": url.database}
    with psycopg.connect(**where, options=str(url.query["options"]), autocommit=True) as connection:  # type: ignore[arg-type]
        found = connection.execute(sql)
        return found.fetchall() if found.description else []


def process(target: Callable[..., None], *arguments: object) -> BaseProcess:
    """Started process that runs `target` in a new interpreter."""
    started = multiprocessing.get_context("spawn").Process(target=target, args=arguments, daemon=True)
    started.start()
    return started


@contextmanager
def sealed(path: Path) -> Iterator[None]:
    """A folder in which nothing can be written, not even by root where the file system allows it."""
    if os.geteuid() != 0:
        path.chmod(0o555)
        yield
        path.chmod(0o755)
        return
    immutable = subprocess.run(["chattr", "+i", path], check=False, capture_output=True)
    needs(immutable.returncode == 0, "a file system with chattr +i, or another user than root")
    try:
        yield
    finally:
        subprocess.run(["chattr", "-i", path], check=True)
