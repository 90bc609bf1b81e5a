"""Files that are written whole or not at all, also where the disk is full or the process is killed in the middle."""

from __future__ import annotations

import resource
import signal
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sweep_examples import NAME, forked, picking_store

from noise_search.commands import pick, report
from noise_search.errors import CallerError
from noise_search.files import UNFINISHED, write_whole

OLD = b"what was there before"
# What writes a file, and how much of that file there is room for: less than it has.
COMMANDS: dict[str, tuple[Callable[..., Any], int]] = {"card": (pick, 500), "report": (report, 100_000)}


def write_with_little_room(what: str, target: Path, store: Path, *, killed: bool) -> None:
    """Body of a process whose files may not grow over a limit; the write that would have them is refused, or its end.

    The kernel does either after it has written up to the limit: in the middle of the file.
    """
    write, limit = COMMANDS[what]
    sys.dont_write_bytecode = True
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL if killed else signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    with pytest.raises(CallerError, match=f"cannot write the {what}: File too large"):
        write(NAME, output=target, store=store)


@contextmanager
def opened_by_another(store: Path) -> Iterator[None]:
    """The store open in this process, so that another writes nothing to read from it."""
    with closing(sqlite3.connect(store / "search.db")) as database:
        database.execute("SELECT count(*) FROM sweeps").fetchone()
        yield


@pytest.mark.parametrize("killed", [False, True], ids=["disk full", "killed"])
@pytest.mark.parametrize("what", COMMANDS)
def test_a_write_that_ends_in_the_middle_leaves_the_whole_old_file(what: str, killed: bool, tmp_path: Path) -> None:
    write, limit = COMMANDS[what]
    target = tmp_path / "file.txt"
    target.write_bytes(OLD)
    with opened_by_another(picking_store()):
        process = forked(write_with_little_room, what, target, picking_store(), killed=killed)
        process.join(60)
    assert process.exitcode == (-signal.SIGXFSZ if killed else 0)
    assert target.read_bytes() == OLD
    unfinished = [path for path in tmp_path.iterdir() if path != target]
    assert [path.stat().st_size for path in unfinished] == ([limit] if killed else [])
    write(NAME, output=target, store=picking_store())
    write(NAME, output=tmp_path / "whole", store=picking_store())
    assert target.read_bytes() == (tmp_path / "whole").read_bytes()
    assert target.stat().st_size > limit


def test_a_file_takes_the_place_of_another_at_once_for_whoever_has_that_open(tmp_path: Path) -> None:
    target = tmp_path / "file"
    write_whole(target, OLD, "file")
    with target.open("rb") as file:
        write_whole(target, b"new", "file")
        assert (file.read(), target.read_bytes()) == (OLD, b"new")
    assert not list(tmp_path.glob(f"{UNFINISHED}*"))
